"""Thresholds by amount: Elkan's closed form, its limits, and what an alert saves."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from balancing.calibration.row_costs import RowCosts
from infra.objectives import CostObjective

money = st.floats(0, 1000, allow_nan=False)
amounts = st.integers(1, 10**9)
shares = st.floats(0.01, 1)


def elkan(true_positive: float, false_positive: float, false_negative: float) -> float:
    """(C10 - C00) / (C10 - C00 + C01 - C11) of Elkan (2001), with C00 = 0."""
    return false_positive / (false_positive + false_negative - true_positive)


@given(money, shares, money, amounts)
def test_the_threshold_is_elkans_for_the_rows_cost_matrix(
    review: float, loss_rate: float, friction: float, amount: int
) -> None:
    costs = RowCosts(review_cost=review, loss_rate=loss_rate, friction_cost=friction)
    loss = loss_rate * amount / 100
    expected = elkan(review, review + friction, loss)

    (threshold,) = costs.thresholds([amount])

    assert threshold == pytest.approx(expected, rel=1e-9)


@given(money, shares, money, amounts, st.floats(0, 1))
def test_an_alert_is_made_where_the_expected_saving_covers_its_cost(
    review: float, loss_rate: float, friction: float, amount: int, probability: float
) -> None:
    costs = RowCosts(review_cost=review, loss_rate=loss_rate, friction_cost=friction)
    saving = probability * loss_rate * amount / 100
    cost = review + (1 - probability) * friction
    (threshold,) = costs.thresholds([amount])

    if not np.isclose(saving, cost, rtol=1e-9, atol=1e-12):
        assert (probability >= threshold) == (saving > cost)


@given(money, money, shares, money, st.tuples(amounts, amounts).map(sorted))
def test_thresholds_rise_with_the_review_and_fall_with_the_amount(
    review: float, more: float, loss_rate: float, friction: float, two: list[int]
) -> None:
    cheap = RowCosts(review_cost=review, loss_rate=loss_rate, friction_cost=friction)
    dear = RowCosts(review_cost=review + more, loss_rate=loss_rate, friction_cost=friction)
    small, large = cheap.thresholds(two)

    assert large <= small
    assert (dear.thresholds(two) >= [small, large]).all()


def test_worked_thresholds() -> None:
    """A review of 5 and friction of 5 for 95, 45 and 5 at stake: 10 of 100, of 50, of 10."""
    costs = RowCosts(review_cost=5, loss_rate=0.5, friction_cost=5)

    assert costs.thresholds([19_000, 9_000, 1_000]).tolist() == [0.1, 0.2, 1.0]


def test_a_refund_a_missing_amount_and_a_cent_each_have_their_place() -> None:
    costs = RowCosts(review_cost=5, loss_rate=1, friction_cost=0)
    refund, nothing, missing, cent = costs.thresholds([-5000, 0, np.nan, 1])

    assert refund == nothing == np.inf
    assert np.isnan(missing)
    assert cent == 500


def test_amounts_are_read_in_the_currencys_minor_units() -> None:
    """300 yen are 300 units, 300 cents are 3."""
    yen = RowCosts(review_cost=3, loss_rate=1, friction_cost=0, minor_units_per_major=1)
    euro = RowCosts(review_cost=3, loss_rate=1, friction_cost=0)

    assert yen.thresholds([300])[0] == 0.01
    assert euro.thresholds([300])[0] == 1.0


def test_savings_of_hits_and_of_false_alarms() -> None:
    costs = RowCosts(review_cost=5, loss_rate=0.5, friction_cost=2)
    found = costs.savings([10_000, 10_000, np.nan], [True, False, True])

    assert found.tolist() == [45.0, -7.0, -5.0]


@pytest.mark.parametrize("name", ["review_cost", "friction_cost"])
@pytest.mark.parametrize("cost", [-0.01, float("nan"), float("inf")])
def test_negative_and_unending_costs_are_refused(name: str, cost: float) -> None:
    given_costs = {"review_cost": 1.0, "friction_cost": 1.0} | {name: cost}

    with pytest.raises(ValidationError, match=name):
        CostObjective(**given_costs)
    with pytest.raises(ValidationError, match=name):
        RowCosts(loss_rate=1, **given_costs)

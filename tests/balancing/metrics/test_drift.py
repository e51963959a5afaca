"""Known drift is found, none is not, and the index is the one that a hand computes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from balancing.metrics.drift import (
    adjusted_p_values,
    categorical_drift,
    numeric_drift,
    population_stability_index,
    quantile_edges,
)


def test_the_index_is_what_a_hand_computes() -> None:
    # Shares with half a row more a bin: 10.5/31, 20.5/31 before, 20.5/31, 10.5/31 now.
    by_hand = 2 * (20.5 / 31 - 10.5 / 31) * np.log(20.5 / 10.5)

    assert population_stability_index([10, 20], [20, 10]) == pytest.approx(by_hand, abs=1e-12)


def test_an_empty_bin_is_far_away_and_not_infinitely_far() -> None:
    assert 1 < population_stability_index([500, 500], [1000, 0]) < 10


def test_bins_hold_even_shares_of_the_reference() -> None:
    drift = numeric_drift(np.arange(1000), np.arange(1000))

    assert drift.reference == pytest.approx(np.full(10, 0.1), abs=0.002)
    assert drift.stability_index == pytest.approx(0, abs=1e-12)
    assert drift.statistic == 0


@pytest.mark.parametrize("change", [5.0, -5.0])
def test_a_column_that_is_mostly_zero_is_seen_to_rise_and_to_fall(change: float) -> None:
    before, now = np.zeros(1000), np.where(np.arange(1000) < 500, 0.0, change)

    assert numeric_drift(before, now).stability_index > 1
    assert quantile_edges(before).tolist() == [0.0, np.nextafter(0, 1)]


def test_a_shift_of_half_a_deviation_is_found() -> None:
    rng = np.random.default_rng(0)
    drift = numeric_drift(rng.normal(size=5000), rng.normal(0.5, 1, 5000))

    assert drift.stability_index > 0.2
    assert drift.p_value < 1e-6
    # The largest distance of two normal curves half a deviation apart, at the middle.
    assert drift.statistic == pytest.approx(2 * stats.norm.cdf(0.25) - 1, abs=0.03)


def test_without_drift_alarms_are_as_rare_as_asked_for() -> None:
    rng, alarms, findings, indices = np.random.default_rng(0), 0, 0, []
    for _ in range(200):
        drifts = [numeric_drift(rng.normal(size=500), rng.normal(size=500)) for _ in range(10)]
        is_unlikely = adjusted_p_values([each.p_value for each in drifts]) < 0.05
        index = np.array([each.stability_index for each in drifts])
        alarms += bool(is_unlikely.any())
        findings += bool((is_unlikely & (index >= 0.1)).any())
        indices.append(index)

    # Of 200 runs of ten columns ten are expected, give or take nine.
    assert 2 <= alarms <= 20
    # Bins less one, over the rows of both sides.
    assert np.mean(indices) == pytest.approx(9 * (1 / 500 + 1 / 500), rel=0.1)
    # An effect is asked for, too: then chance alone is a finding more rarely still.
    assert findings <= 4


def test_categories_are_compared_by_their_shares() -> None:
    drift = categorical_drift([500, 300, 200, 0], [500, 300, 0, 200])

    assert drift.p_value < 1e-6
    assert drift.stability_index > 1
    assert drift.reference.tolist() == [0.5, 0.3, 0.2, 0.0]
    assert categorical_drift([500, 300], [500, 300]).p_value == 1


def test_categories_too_rare_for_the_test_count_as_one() -> None:
    # Fifty categories of one row each are no evidence of anything.
    before, now = np.ones(51), np.ones(51)
    before[0] = now[0] = 500
    now[1:26], before[26:] = 0, 0

    assert categorical_drift(before, now).p_value > 0.05


def test_chi_square_alarms_are_as_rare_as_asked_for() -> None:
    rng = np.random.default_rng(1)
    shares = [0.5, 0.3, 0.15, 0.05]
    p_values = [
        categorical_drift(rng.multinomial(800, shares), rng.multinomial(800, shares)).p_value
        for _ in range(400)
    ]

    assert 0.02 <= np.mean(np.array(p_values) < 0.05) <= 0.09


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=60))
def test_no_values_are_too_strange(values: list[float]) -> None:
    drift = numeric_drift(values, values[::-1])

    assert drift.stability_index == pytest.approx(0, abs=1e-9)
    assert drift.current.sum() == pytest.approx(1)


def test_infinities_have_their_bins() -> None:
    drift = numeric_drift([0.0, 1.0, np.inf] * 100, [0.0, 1.0, 2.0] * 100)

    assert drift.stability_index > 0.1


@pytest.mark.parametrize(
    ("values", "message"), [([], "must hold values"), ([1.0, np.nan], "none of them NaN")]
)
def test_what_is_no_column_of_numbers_is_refused(values: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        numeric_drift([1.0], values)


@pytest.mark.parametrize(
    ("reference", "current", "message"),
    [([1, 2], [1, 2, 3], "for every category"), ([0, 0], [1, 2], "at least one row"),
     ([1, -1], [1, 2], "at least one row")],
)  # fmt: skip
def test_what_are_no_counts_is_refused(
    reference: list[int], current: list[int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        categorical_drift(reference, current)


def test_no_p_values_need_no_adjusting() -> None:
    assert adjusted_p_values([]).size == 0
    assert adjusted_p_values([0.01, 0.02, 0.03]).tolist() == pytest.approx([0.03, 0.03, 0.03])

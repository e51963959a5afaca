"""Costs by threshold, added up by hand."""

import numpy as np
import pytest

from balancing.metrics.costs import cost_curve

LABEL = [1, 0, 1, 0]
SCORE = [0.9, 0.6, 0.3, 0.1]
AMOUNT = [10_000, 500, 20_000, 500]


def test_each_threshold_adds_missed_amounts_reviews_and_friction() -> None:
    curve = cost_curve(LABEL, SCORE, AMOUNT, review_cost=5, loss_rate=0.5, friction_cost=2)

    assert curve.threshold.tolist() == SCORE
    assert curve.missed.tolist() == [100, 100, 0, 0]
    assert curve.review.tolist() == [5, 10, 15, 20]
    assert curve.friction.tolist() == [0, 2, 2, 4]
    assert curve.total.tolist() == [105, 112, 17, 24]
    assert curve.nothing == 150


def test_a_currency_without_minor_units_counts_amounts_as_they_are() -> None:
    curve = cost_curve(LABEL, SCORE, AMOUNT, review_cost=0, minor_units_per_major=1)

    assert curve.nothing == 30_000


@pytest.mark.parametrize(
    ("cost", "message"),
    [
        ({"review_cost": -1}, "review_cost must be at least 0. Got review_cost=-1"),
        ({"review_cost": np.nan}, "review_cost must be at least 0"),
        ({"review_cost": 1, "friction_cost": -2}, "friction_cost must be at least 0"),
        ({"review_cost": 1, "loss_rate": 1.5}, r"loss_rate must be in \[0, 1\]. Got loss_rate=1.5"),
    ],
)
def test_an_impossible_cost_is_refused(cost: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cost_curve(LABEL, SCORE, AMOUNT, **cost)

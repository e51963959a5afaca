"""Applying thresholds: inclusive, ordered, and without one."""

import numpy as np
import pytest
from pydantic import ValidationError

from balancing.calibration.thresholds import (
    OperatingPoint,
    Thresholds,
    TunedThreshold,
    decide,
)
from balancing.metrics.intervals import Interval
from infra.objectives import MaxFprObjective


def threshold(value: float | None) -> TunedThreshold:
    return TunedThreshold(
        objective=MaxFprObjective(max_fpr=0.1),
        threshold=value,
        interval=Interval(float("nan"), float("nan"), float("nan")),
        feasible_share=1.0,
        achieved=OperatingPoint(
            n_alerts=0, alert_rate=0, false_positive_rate=0, recall=0, precision=float("nan")
        ),
        reason="by hand",
    )


def test_a_score_at_a_threshold_counts_as_above_it() -> None:
    decisions = decide([0.19, 0.2, 0.79, 0.8], review_threshold=0.2, decline_threshold=0.8)

    assert decisions.tolist() == [0, 1, 1, 2]
    assert decisions.dtype == np.int8


def test_equal_thresholds_leave_nothing_to_review() -> None:
    assert decide([0.1, 0.5], review_threshold=0.5, decline_threshold=0.5).tolist() == [0, 2]


@pytest.mark.parametrize(
    ("review", "decline", "expected"),
    [(0.2, None, [0, 1, 1]), (None, 0.8, [0, 0, 2]), (None, None, [0, 0, 0])],
)
def test_without_a_threshold_no_row_gets_its_decision(
    review: float | None, decline: float | None, expected: list[int]
) -> None:
    thresholds = Thresholds(review=threshold(review), decline=threshold(decline))

    assert thresholds.decide(np.array([0.1, 0.3, 1.0])).tolist() == expected


def test_a_decline_threshold_below_review_is_refused() -> None:
    with pytest.raises(ValidationError, match="must not be below the review threshold"):
        Thresholds(review=threshold(0.5), decline=threshold(0.4))


def test_decisions_never_fall_as_the_score_rises() -> None:
    scores = np.linspace(0, 1, 1001)
    decisions = decide(scores, review_threshold=0.3, decline_threshold=0.3001)

    assert (np.diff(decisions) >= 0).all()

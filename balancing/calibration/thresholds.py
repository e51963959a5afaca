"""Scores to decisions: approve, review or decline."""

from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from balancing.metrics.cells import FloatArray
from balancing.metrics.intervals import Interval, NanAsNull
from infra.objectives import Objective

DecisionArray: TypeAlias = NDArray[np.int8]

APPROVE, REVIEW, DECLINE = 0, 1, 2
DECISION_NAMES = ("approve", "review", "decline")


class OperatingPoint(BaseModel):
    """What a threshold did on the calibration rows.

    Attributes:
        n_alerts: Rows at or above it.
        alert_rate: Their share of all rows.
        false_positive_rate: Share of the negatives at or above it.
        recall: Share of the positives at or above it.
        precision: Share of positives among the alerts; NaN without alerts.
        alerts_per_day: ``None`` where the length of the period is unknown.
        total_cost: In major currency units over the period; ``None`` without a cost objective.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_alerts: int = Field(ge=0)
    alert_rate: float
    false_positive_rate: float
    recall: float
    precision: NanAsNull
    alerts_per_day: float | None = None
    total_cost: float | None = None


class TunedThreshold(BaseModel):
    """A threshold with what it was chosen for, how sure it is, and what it achieved.

    Attributes:
        objective: What it was chosen for.
        threshold: Lowest risk score that counts; ``None``: no row does, however high its score.
        interval: The threshold with its 95 % bootstrap interval over resamples that had one.
        feasible_share: Share of the resamples in which the objective could be met.
        achieved: What it did on the calibration rows.
        reason: One line for a person.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    objective: Objective
    threshold: float | None = Field(default=None, allow_inf_nan=False)
    interval: Interval
    feasible_share: float = Field(ge=0, le=1)
    achieved: OperatingPoint
    reason: str

    @property
    def lowest_score(self) -> float:
        """The threshold as a number to compare with; infinity where there is none."""
        return float("inf") if self.threshold is None else self.threshold


class Thresholds(BaseModel):
    """The two thresholds of a policy; decline never lies below review.

    Without a review threshold nothing is sent to review, and decline stands on its own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    review: TunedThreshold
    decline: TunedThreshold

    @model_validator(mode="after")
    def _decline_is_not_below_review(self) -> "Thresholds":
        review, decline = self.review.threshold, self.decline.threshold
        if review is not None and decline is not None and decline < review:
            raise ValueError(
                f"The decline threshold must not be below the review threshold. Got {decline:g} "
                f"and {review:g}."
            )
        return self

    def decide(self, risk_score: FloatArray) -> DecisionArray:
        """Return the decision of each row, ``(n_rows,)`` -> ``(n_rows,)`` int8."""
        return decide(
            risk_score,
            review_threshold=self.review.lowest_score,
            decline_threshold=self.decline.lowest_score,
        )


def decide(
    risk_score: ArrayLike, *, review_threshold: float, decline_threshold: float
) -> DecisionArray:
    """Return 0 (approve), 1 (review) or 2 (decline) for each score.

    A score at a threshold counts as above it. Declining needs ``decline_threshold`` alone, so an
    infinite ``review_threshold`` sends nothing to review and still declines.

    Shape:
        ``(n_rows,)`` -> ``(n_rows,)``, int8.

    Example:
        >>> decide([0.1, 0.5, 0.9], review_threshold=0.5, decline_threshold=0.9)
        array([0, 1, 2], dtype=int8)
    """
    scores = np.asarray(risk_score, dtype=np.float64)
    decision = (scores >= review_threshold).astype(np.int8)
    decision[scores >= decline_threshold] = DECLINE
    return decision

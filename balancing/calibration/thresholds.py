"""Scores to decisions: approve, review or decline.

A threshold is one score, one score per segment, or one per row where costs grow with the amount.
"""

from collections.abc import Iterable
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from balancing.calibration.row_costs import RowCosts
from balancing.calibration.segments import segment_codes
from balancing.metrics.cells import FloatArray, IntArray
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
        false_positive_rate: Share of the negatives at or above it; NaN without negatives.
        recall: Share of the positives at or above it; NaN without positives.
        precision: Share of positives among the alerts; NaN without alerts.
        alerts_per_day: ``None`` where the length of the period is unknown.
        total_cost: In major currency units over the period; ``None`` without a cost objective.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_alerts: int = Field(ge=0)
    alert_rate: float
    false_positive_rate: NanAsNull
    recall: NanAsNull
    precision: NanAsNull
    alerts_per_day: float | None = None
    total_cost: float | None = None


class SegmentThreshold(BaseModel):
    """The threshold of one segment, shrunk towards the global one.

    Attributes:
        segment: The segment's key.
        threshold: Lowest risk score that counts there; ``None``: no row does.
        interval: The threshold with its 95 % bootstrap interval.
        weight: How far the segment's own rows decide: 0 is the global rate, 1 their own.
        n_rows: Its calibration rows.
        n_positives: The positives among them.
        achieved: What it did on them.
        reason: One line for a person.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    segment: str
    threshold: float | None = Field(default=None, allow_inf_nan=False)
    interval: Interval
    weight: float = Field(ge=0, le=1)
    n_rows: int = Field(gt=0)
    n_positives: int = Field(ge=0)
    achieved: OperatingPoint
    reason: str


class TunedThreshold(BaseModel):
    """A threshold with what it was chosen for, how sure it is, and what it achieved.

    Attributes:
        objective: What it was chosen for.
        threshold: Lowest risk score that counts; ``None``: no row does, however high its score.
            With ``row_costs`` it is for rows without an amount, with ``segments`` for rows of
            other segments.
        interval: The threshold with its 95 % bootstrap interval over resamples that had one.
        feasible_share: Share of the resamples in which the objective could be met.
        row_costs: Costs that give each row a threshold by its amount; ``None`` without.
        saving: What alerts by amount saved on the calibration rows against none, in major
            currency units, with its 95 % bootstrap interval.
        segments: Thresholds of segments; ``None`` where all rows have one.
        achieved: What all of it did on the calibration rows.
        reason: One line for a person.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    objective: Objective
    threshold: float | None = Field(default=None, allow_inf_nan=False)
    interval: Interval
    feasible_share: float = Field(ge=0, le=1)
    row_costs: RowCosts | None = None
    saving: Interval | None = None
    segments: tuple[SegmentThreshold, ...] | None = Field(default=None, min_length=1)
    achieved: OperatingPoint
    reason: str

    @property
    def lowest_score(self) -> float:
        """The threshold as a number to compare with; infinity where there is none."""
        return float("inf") if self.threshold is None else self.threshold

    def of_rows(self, amount_minor: FloatArray | None, code: IntArray | None) -> FloatArray:
        """Return the threshold of each row, or one for all; NaN where there is none.

        Args:
            amount_minor: Amount per row; NaN where it is missing.
            code: Place of each row's segment among ``segments``, -1 for another one.

        Shape:
            ``(n_rows,)`` each -> ``(n_rows,)`` or ``()``.
        """
        one = np.float64(_or_nan(self.threshold))
        if self.row_costs is not None:
            assert amount_minor is not None
            by_amount = self.row_costs.thresholds(amount_minor)
            return np.where(np.isnan(by_amount), one, by_amount)
        if self.segments is not None:
            assert code is not None
            own = [each.threshold for each in self.segments]
            return np.array([*own, one], dtype=np.float64)[code]
        return np.asarray(one)


class Thresholds(BaseModel):
    """The two thresholds of a policy; for no row does decline lie below review.

    Where they would cross, decline is raised to review: a row is declined only if it would be
    reviewed. A review threshold by costs gives way instead and is lowered to decline: where an
    amount is too small to pay a reviewer, declining needs none. Without a review threshold
    nothing is sent to review, and decline stands on its own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    review: TunedThreshold
    decline: TunedThreshold

    @model_validator(mode="after")
    def _decline_is_not_below_review(self) -> "Thresholds":
        review, decline = self.review.threshold, self.decline.threshold
        is_by_score = self.review.row_costs is None and self.decline.row_costs is None
        if is_by_score and review is not None and decline is not None and decline < review:
            raise ValueError(
                f"The decline threshold must not be below the review threshold. Got {decline:g} "
                f"and {review:g}."
            )
        return self

    @property
    def needs_amounts(self) -> bool:
        """Whether rows are decided by their amounts."""
        return self.review.row_costs is not None or self.decline.row_costs is not None

    @property
    def needs_segments(self) -> bool:
        """Whether rows are decided by their segments."""
        return self.review.segments is not None or self.decline.segments is not None

    def of_rows(
        self, amount_minor: ArrayLike | None = None, segment: ArrayLike | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """Return the review and the decline threshold of each row, or one for all of them.

        A row without an amount, or of a segment that has no threshold of its own, has the global
        one. NaN stands for none.

        Args:
            amount_minor: Amount per row in minor currency units; needed where costs decide.
            segment: Each row's segment, a text or ``None``; needed where thresholds go by it.

        Shape:
            ``(n_rows,)`` each -> ``(n_rows,)`` or ``()`` each.

        Raises:
            ValueError: If amounts or segments are needed and absent.
        """
        amounts = self._amounts(amount_minor)
        codes = self._codes(segment)
        review = self.review.of_rows(amounts, codes[0])
        decline = self.decline.of_rows(amounts, codes[1])
        if self.review.row_costs is not None:
            return np.where(review > decline, decline, review), decline
        return review, np.where(review > decline, review, decline)

    def decide(
        self,
        risk_score: FloatArray,
        *,
        amount_minor: ArrayLike | None = None,
        segment: ArrayLike | None = None,
    ) -> DecisionArray:
        """Return the decision of each row; amounts and segments as for :meth:`of_rows`.

        Shape:
            ``(n_rows,)`` each -> ``(n_rows,)`` int8.
        """
        needs_rows = self.needs_amounts or self.needs_segments
        pair = self.of_rows(amount_minor, segment) if needs_rows else self._of_all()
        return decide(risk_score, review_threshold=pair[0], decline_threshold=pair[1])

    def _of_all(self) -> tuple[float, float]:
        """Return what :meth:`of_rows` does where all rows have one threshold."""
        review, decline = _or_nan(self.review.threshold), _or_nan(self.decline.threshold)
        return review, max(decline, review)

    def _amounts(self, amount_minor: ArrayLike | None) -> FloatArray | None:
        if not self.needs_amounts:
            return None
        if amount_minor is None:
            raise ValueError("These thresholds need each row's amount. Got none.")
        return np.asarray(amount_minor, dtype=np.float64)

    def _codes(self, segment: ArrayLike | None) -> tuple[IntArray | None, IntArray | None]:
        """Return each row's place among the segments of review and of decline."""
        if not self.needs_segments:
            return None, None
        if segment is None:
            raise ValueError("These thresholds need each row's segment. Got none.")
        review, decline = _names(self.review.segments), _names(self.decline.segments)
        codes = segment_codes(segment, review or decline)
        if not review or not decline or review == decline:
            return codes, codes
        return codes, segment_codes(segment, decline)


def _or_nan(threshold: float | None) -> float:
    return float("nan") if threshold is None else threshold


def _names(segments: Iterable[SegmentThreshold] | None) -> list[str]:
    return [each.segment for each in segments or ()]


def decide(
    risk_score: ArrayLike,
    *,
    review_threshold: float | FloatArray,
    decline_threshold: float | FloatArray,
) -> DecisionArray:
    """Return 0 (approve), 1 (review) or 2 (decline) for each score.

    A score at a threshold counts as above it. Declining needs ``decline_threshold`` alone, so a
    ``review_threshold`` that is infinite or NaN sends nothing to review and still declines.

    Shape:
        ``(n_rows,)``, thresholds ``(n_rows,)`` or ``()`` -> ``(n_rows,)``, int8.

    Example:
        >>> decide([0.1, 0.5, 0.9], review_threshold=0.5, decline_threshold=0.9)
        array([0, 1, 2], dtype=int8)
    """
    scores = np.asarray(risk_score, dtype=np.float64)
    decision: DecisionArray = np.greater_equal(scores, review_threshold).view(np.int8)
    decision[scores >= decline_threshold] = DECLINE
    return decision

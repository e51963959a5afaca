"""Tunes review and decline together, so that for no row decline lies below review."""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike

from balancing.calibration.fitting.calibrators import CalibrationError
from balancing.calibration.fitting.cost_rule import by_amount
from balancing.calibration.fitting.operating_points import Period, operating_point
from balancing.calibration.fitting.segment_thresholds import tune_segments
from balancing.calibration.fitting.thresholds import days_for, tune_threshold
from balancing.calibration.objectives import PolicyObjectives
from balancing.calibration.segments import segment_codes
from balancing.calibration.thresholds import SegmentThreshold, Thresholds, TunedThreshold
from balancing.metrics.cells import FloatArray, IntArray
from infra.objectives import CostObjective, Objective


@dataclass(frozen=True, slots=True)
class ScoredRows:
    """Calibration rows with their scores.

    Attributes:
        label: 0 or 1.
        risk_score: Calibrated probability.
        segment: Each row's segment, a text or ``None``; ``None`` where there are none.
        period: Amounts, and the length of the period.

    Shape:
        ``(n_rows,)`` each.
    """

    label: IntArray
    risk_score: FloatArray
    segment: ArrayLike | None = None
    period: Period = field(default_factory=Period)


def fit_thresholds(rows: ScoredRows, objectives: PolicyObjectives, *, seed: int) -> Thresholds:
    """Return both thresholds, by amount under ``cost``, by segment where segments are named.

    An objective that cannot be met gives no threshold: without a review threshold nothing is sent
    to review, without a decline threshold nothing is declined. Its reason says what is feasible.

    Raises:
        CalibrationError: If an objective lacks what it needs, or segments are wanted and the rows
            have none, or too many.
    """
    by_segment = bool(objectives.segments)
    has_score = not all(
        isinstance(each, CostObjective) for each in (objectives.review, objectives.decline)
    )
    if by_segment and has_score and rows.segment is None:
        raise CalibrationError(
            f"Thresholds are wanted by {', '.join(objectives.segments)}, and the calibration rows "
            "carry no segments. Leave policy.segments out, or calibrate on rows that have them."
        )
    review = _tuned(rows, objectives.review, by_segment=by_segment, seed=seed)
    decline = _tuned(rows, objectives.decline, by_segment=by_segment, seed=seed)
    return in_order(rows, review, decline)


def in_order(rows: ScoredRows, review: TunedThreshold, decline: TunedThreshold) -> Thresholds:
    """Return the pair, a decline threshold by score raised to review where it lies below it.

    What each achieved is told as both together decide.
    """
    is_by_score = review.row_costs is None and decline.row_costs is None
    note = None
    if (
        is_by_score
        and review.threshold is not None
        and decline.threshold is not None
        and decline.threshold < review.threshold
    ):
        note = (
            f"Raised from {decline.threshold:.4g} to the review threshold: a row is declined only "
            "if it would be reviewed"
        )
        decline = decline.model_copy(update={"threshold": review.threshold})
    pair = Thresholds(review=review, decline=decline)
    review_at, decline_at = pair.of_rows(rows.period.amount_minor, rows.segment)
    decline = _as_decided(rows, decline, decline_at)
    if note is not None:
        alerts = decline.achieved.n_alerts
        decline = decline.model_copy(
            update={"reason": f"{decline.reason}. {note}; now {alerts} alerts"}
        )
    return Thresholds(review=_as_decided(rows, review, review_at), decline=decline)


def _tuned(
    rows: ScoredRows, objective: Objective, *, by_segment: bool, seed: int
) -> TunedThreshold:
    period = rows.period
    tuned = tune_threshold(
        rows.label,
        rows.risk_score,
        objective,
        amount_minor=period.amount_minor,
        days=period.days,
        minor_units_per_major=period.minor_units_per_major,
        seed=seed,
    )
    if isinstance(objective, CostObjective):
        return by_amount(tuned, rows.label, rows.risk_score, period, seed=seed)
    if not by_segment:
        return tuned
    assert rows.segment is not None
    segments = tune_segments(
        rows.label,
        rows.risk_score,
        rows.segment,
        objective,
        threshold=tuned.threshold,
        days=days_for(objective, period.days, len(rows.label)),
        seed=seed,
    )
    return tuned.model_copy(
        update={
            "segments": segments.thresholds,
            "reason": f"{tuned.reason}. {segments.reason}",
        }
    )


def _as_decided(rows: ScoredRows, tuned: TunedThreshold, threshold: FloatArray) -> TunedThreshold:
    """Return a threshold with what it achieves where each row has the given one."""
    period = replace(rows.period, days=days_for(tuned.objective, rows.period.days, len(rows.label)))
    is_alert = rows.risk_score >= threshold
    achieved = operating_point(rows.label, is_alert, period, tuned.objective)
    if tuned.segments is None:
        return tuned.model_copy(update={"achieved": achieved})
    assert rows.segment is not None
    codes = segment_codes(rows.segment, [each.segment for each in tuned.segments])
    segments = tuple(
        _segment_as_decided(each, rows, np.flatnonzero(codes == at), threshold, period.days)
        for at, each in enumerate(tuned.segments)
    )
    return tuned.model_copy(update={"achieved": achieved, "segments": segments})


def _segment_as_decided(
    segment: SegmentThreshold,
    rows: ScoredRows,
    at: IntArray,
    threshold: FloatArray,
    days: float | None,
) -> SegmentThreshold:
    decided = float(threshold[at[0]])
    raised = segment.threshold is not None and decided > segment.threshold
    return segment.model_copy(
        update={
            "threshold": decided if raised else segment.threshold,
            "achieved": operating_point(
                rows.label[at], rows.risk_score[at] >= decided, Period(days=days)
            ),
            "reason": f"{segment.reason}. Raised to review" if raised else segment.reason,
        }
    )

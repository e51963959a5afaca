"""Fits a whole policy on calibration logits: calibrator, thresholds, score map, golden rows."""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from balancing.calibration.fitting.calibrators import check_calibration_rows, fit_calibrator
from balancing.calibration.fitting.ranking_check import check_ranking
from balancing.calibration.fitting.thresholds import (
    operating_point,
    tune_threshold,
)
from balancing.calibration.objectives import PolicyObjectives
from balancing.calibration.policy import (
    CalibrationData,
    Costs,
    GoldenDecisions,
    Policy,
    score_logits,
)
from balancing.calibration.post_processing.kinds import PostProcessing
from balancing.calibration.prior_shift import PriorShift
from balancing.calibration.score_map import ScoreMap
from balancing.calibration.temperatures import check_logits, log_odds
from balancing.calibration.thresholds import Thresholds, TunedThreshold
from balancing.metrics.cells import FloatArray, IntArray, count_cells
from balancing.metrics.costs import MINOR_UNITS_PER_MAJOR
from balancing.metrics.period import period_days
from infra.objectives import CostObjective

logger = logging.getLogger(__name__)

_N_GOLDEN = 64
_N_MAP_TOP, _N_MAP_SPREAD = 128, 256


def fit_policy(
    logits: ArrayLike,
    label: ArrayLike,
    *,
    amount_minor: ArrayLike | None = None,
    event_time: ArrayLike | None = None,
    segment: ArrayLike | None = None,
    settings: PolicyObjectives | Mapping[str, Any],
    model_sha256: str,
    post_processing: PostProcessing,
    prior_shift: PriorShift | None = None,
    force: bool = False,
    calibration_fingerprint: str,
    actor: str,
    reason: str,
    seed: int,
    minor_units_per_major: int = MINOR_UNITS_PER_MAJOR,
    created_at: datetime | None = None,
) -> Policy:
    """Return the policy that serves the objectives best on the calibration rows.

    Args:
        logits: The released model's logits, or out-of-fold logits of its strategy, on rows that
            no network behind them was fitted on.
        label: 0 or 1 per row.
        amount_minor: Amount per row in minor currency units; a missing one counts as 0.
        event_time: When each row happened; gives the length of the period and so alerts a day.
        segment: Each row's segment, a text or ``None``; needed where the post-processing
            differs by segment.
        settings: Objectives of ``review`` and ``decline``; a contract's policy settings as a
            mapping will do, their other keys are passed over.
        model_sha256: Hash of the ONNX file the policy is for.
        post_processing: What is done to the logits before calibration.
        prior_shift: Base rate to read scores at; the calibration rows' own by default. Thresholds
            are chosen on these rows as they are, at the shifted scores.
        force: Accept a post-processing that lowers average precision with certainty.
        calibration_fingerprint: Hash of the calibration rows.
        actor: Who makes the policy.
        reason: Why it is made.
        seed: Decides folds and resamples.
        minor_units_per_major: Minor units in one unit of the costs' currency.
        created_at: When; now by default.

    Shape:
        ``(n_rows, 2)`` logits, ``(n_rows,)`` else.

    Raises:
        CalibrationError: If there are too few positives, one constant score, or an objective
            lacks what it needs.
        RankingLowered: If the post-processing lowers average precision on these rows with
            certainty, unless forced.
        ValidationError: If the settings are no objectives.
    """
    objectives = PolicyObjectives.model_validate(settings)
    if objectives.segments:
        logger.warning(
            "thresholds are global, segments are not used", extra={"segments": objectives.segments}
        )
    rows = check_logits(logits)
    odds, labels = check_calibration_rows(log_odds(post_processing.apply(rows, segment)), label)
    ranking_change = check_ranking(
        labels, rows, post_processing, segment=segment, force=force, seed=seed
    )
    calibrator = fit_calibrator(odds, labels, seed=seed).calibrator
    scores = score_logits(rows, post_processing, calibrator, prior_shift, segment=segment)
    days = None if event_time is None else period_days(event_time)
    thresholds = fit_thresholds(
        labels,
        scores,
        objectives,
        amount_minor=amount_minor,
        days=days,
        minor_units_per_major=minor_units_per_major,
        seed=seed,
    )
    return Policy.seal(
        model_sha256=model_sha256,
        post_processing=post_processing,
        calibrator=calibrator,
        prior_shift=prior_shift,
        thresholds=thresholds,
        costs=_costs(objectives, minor_units_per_major),
        score_map=fit_score_map(labels, scores, days=_traffic_days(objectives, days, len(labels))),
        golden=_golden(rows, scores, segment, thresholds),
        calibration_data=CalibrationData(
            fingerprint=calibration_fingerprint,
            n_rows=len(labels),
            class_counts=(int((labels == 0).sum()), int((labels == 1).sum())),
        ),
        ranking_change=ranking_change,
        created_at=created_at or datetime.now(UTC),
        actor=actor,
        reason=reason,
    )


def fit_thresholds(
    label: IntArray,
    risk_score: FloatArray,
    objectives: PolicyObjectives,
    *,
    amount_minor: ArrayLike | None = None,
    days: float | None = None,
    minor_units_per_major: int = MINOR_UNITS_PER_MAJOR,
    seed: int,
) -> Thresholds:
    """Return both thresholds; a decline threshold below review is raised to it.

    An infeasible objective gives no threshold: without a review threshold nothing is sent to
    review, without a decline threshold nothing is declined. Its reason says what is feasible.
    """
    context: dict[str, Any] = {
        "amount_minor": amount_minor,
        "days": days,
        "minor_units_per_major": minor_units_per_major,
    }
    review = tune_threshold(label, risk_score, objectives.review, seed=seed, **context)
    decline = tune_threshold(label, risk_score, objectives.decline, seed=seed, **context)
    if decline.threshold is None or review.threshold is None:
        return Thresholds(review=review, decline=decline)
    if decline.threshold < review.threshold:
        decline = _raise_to(decline, review.threshold, label, risk_score, context)
    return Thresholds(review=review, decline=decline)


def fit_score_map(label: IntArray, risk_score: FloatArray, *, days: float | None) -> ScoreMap:
    """Return the curves from score to false-positive rate and alerts, thinned to a few hundred."""
    distinct = np.unique(risk_score)[::-1]
    cells = count_cells(label, risk_score)
    kept = _map_points(cells.false_positives + cells.true_positives)[::-1]
    alerts = cells.false_positives + cells.true_positives
    return ScoreMap(
        risk_score=tuple(distinct[kept].tolist()),
        false_positive_rate=tuple((cells.false_positives / cells.n_negatives)[kept].tolist()),
        alert_rate=tuple((alerts / len(label))[kept].tolist()),
        rows_per_day=None if days is None else len(label) / days,
    )


def _traffic_days(objectives: PolicyObjectives, days: float | None, n_rows: int) -> float | None:
    rates = [
        getattr(each, "rows_per_day", None) for each in (objectives.review, objectives.decline)
    ]
    stated = [rate for rate in rates if rate is not None]
    return n_rows / stated[0] if stated else days


def _raise_to(
    tuned: TunedThreshold,
    threshold: float,
    label: IntArray,
    risk_score: FloatArray,
    context: dict[str, Any],
) -> TunedThreshold:
    achieved = operating_point(label, risk_score, threshold, objective=tuned.objective, **context)
    reason = (
        f"{tuned.reason}. Raised from {tuned.threshold:.4g} to the review threshold: a row is "
        f"declined only if it would be reviewed; now {achieved.n_alerts} alerts"
    )
    return tuned.model_copy(update={"threshold": threshold, "achieved": achieved, "reason": reason})


def _map_points(n_alerts: FloatArray) -> IntArray:
    """Return the first places one by one, then places spread evenly over the log of the alerts."""
    n_points = len(n_alerts)
    levels = np.geomspace(1, n_alerts[-1], _N_MAP_SPREAD)
    spread = np.searchsorted(n_alerts, levels).clip(max=n_points - 1)
    return np.unique(np.concatenate([np.arange(min(_N_MAP_TOP, n_points)), spread, [n_points - 1]]))


def _golden(
    logits: FloatArray, score: FloatArray, segment: ArrayLike | None, thresholds: Thresholds
) -> GoldenDecisions:
    """Take rows over the whole range of scores, denser towards the top where decisions differ."""
    order = np.argsort(-score, kind="stable")
    ranks = np.unique(np.geomspace(1, len(order), _N_GOLDEN).astype(np.int64)) - 1
    rows = order[ranks]
    return GoldenDecisions(
        logits=tuple((float(row[0]), float(row[1])) for row in logits[rows]),
        segment=None if segment is None else tuple(np.asarray(segment, dtype=object)[rows]),
        risk_score=tuple(score[rows].tolist()),
        decision=tuple(thresholds.decide(score[rows]).tolist()),
    )


def _costs(objectives: PolicyObjectives, minor_units_per_major: int) -> Costs | None:
    for objective in (objectives.review, objectives.decline):
        if isinstance(objective, CostObjective):
            return Costs(
                review_cost=objective.review_cost,
                loss_rate=objective.loss_rate,
                friction_cost=objective.friction_cost,
                minor_units_per_major=minor_units_per_major,
            )
    return None

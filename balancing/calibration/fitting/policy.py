"""Fits a whole policy on calibration logits: calibrator, thresholds, score map, golden rows."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from balancing.calibration.fitting.anchoring import anchor_thresholds
from balancing.calibration.fitting.calibrators import check_calibration_rows, fit_calibrator
from balancing.calibration.fitting.operating_points import Period
from balancing.calibration.fitting.ranking_check import check_ranking
from balancing.calibration.fitting.threshold_pair import ScoredRows, fit_thresholds
from balancing.calibration.objectives import PolicyObjectives
from balancing.calibration.policy import (
    CalibrationData,
    GoldenDecisions,
    Policy,
    score_logits,
)
from balancing.calibration.post_processing.kinds import PostProcessing
from balancing.calibration.prior_shift import PriorShift
from balancing.calibration.row_costs import RowCosts
from balancing.calibration.score_map import ScoreMap
from balancing.calibration.temperatures import check_logits, log_odds
from balancing.calibration.thresholds import Thresholds
from balancing.metrics.cells import FloatArray, IntArray, count_cells
from balancing.metrics.costs import MINOR_UNITS_PER_MAJOR
from balancing.metrics.period import period_days
from infra.exploration import Exploration

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
    anchor: Policy | None = None,
    exploration: Exploration | None = None,
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
        segment: Each row's segment, a text or ``None``; needed where the settings name segments
            or the post-processing differs by segment.
        settings: Objectives of ``review`` and ``decline``; a contract's policy settings as a
            mapping will do, their other keys are passed over.
        model_sha256: Hash of the ONNX file the policy is for.
        post_processing: What is done to the logits before calibration.
        prior_shift: Base rate to read scores at; the calibration rows' own by default. Thresholds
            are chosen on these rows as they are, at the shifted scores.
        anchor: A policy whose thresholds are kept at their false-positive rates; the objectives
            of the settings are passed over then.
        exploration: Which declined rows a service lets through; written down as it is.
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
    rows = check_logits(logits)
    odds, labels = check_calibration_rows(log_odds(post_processing.apply(rows, segment)), label)
    ranking_change = check_ranking(
        labels, rows, post_processing, segment=segment, force=force, seed=seed
    )
    calibrator = fit_calibrator(odds, labels, seed=seed).calibrator
    scores = score_logits(rows, post_processing, calibrator, prior_shift, segment=segment)
    days = None if event_time is None else period_days(event_time)
    scored = ScoredRows(labels, scores, segment, Period(amount_minor, days, minor_units_per_major))
    if anchor is None:
        thresholds = fit_thresholds(scored, objectives, seed=seed)
    else:
        thresholds = anchor_thresholds(scored, anchor, seed=seed)
    has_segments = thresholds.needs_segments or post_processing.is_segmented
    return Policy.seal(
        model_sha256=model_sha256,
        segment_columns=objectives.segments if has_segments else (),
        post_processing=post_processing,
        calibrator=calibrator,
        prior_shift=prior_shift,
        thresholds=thresholds,
        costs=_costs(thresholds),
        exploration=exploration,
        score_map=fit_score_map(labels, scores, days=_traffic_days(objectives, days, len(labels))),
        golden=_golden(rows, scored, thresholds, has_segments=has_segments),
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


def _map_points(n_alerts: FloatArray) -> IntArray:
    """Return the first places one by one, then places spread evenly over the log of the alerts."""
    n_points = len(n_alerts)
    levels = np.geomspace(1, n_alerts[-1], _N_MAP_SPREAD)
    spread = np.searchsorted(n_alerts, levels).clip(max=n_points - 1)
    return np.unique(np.concatenate([np.arange(min(_N_MAP_TOP, n_points)), spread, [n_points - 1]]))


def _golden(
    logits: FloatArray, rows: ScoredRows, thresholds: Thresholds, *, has_segments: bool
) -> GoldenDecisions:
    """Take rows over the whole range of scores, denser towards the top where decisions differ."""
    order = np.argsort(-rows.risk_score, kind="stable")
    ranks = np.unique(np.geomspace(1, len(order), _N_GOLDEN).astype(np.int64)) - 1
    chosen = order[ranks]
    amount, segment = rows.period.amount_minor, rows.segment
    amounts = None
    if thresholds.needs_amounts:
        amounts = np.asarray(amount, dtype=np.float64)[chosen]
    segments = np.asarray(segment, dtype=object)[chosen] if has_segments else None
    score = rows.risk_score[chosen]
    decision = thresholds.decide(score, amount_minor=amounts, segment=segments)
    return GoldenDecisions(
        logits=tuple((float(row[0]), float(row[1])) for row in logits[chosen]),
        amount_minor=None
        if amounts is None
        else tuple(None if np.isnan(each) else int(each) for each in amounts),
        segment=None if segments is None else tuple(segments),
        risk_score=tuple(score.tolist()),
        decision=tuple(decision.tolist()),
    )


def _costs(thresholds: Thresholds) -> RowCosts | None:
    return thresholds.review.row_costs or thresholds.decline.row_costs

"""Everything that speaks for or against a challenger, as figures of both versions."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import polars as pl

from balancing.calibration.thresholds import REVIEW
from balancing.metrics.calibration_slope import calibration_line
from balancing.metrics.cells import FloatArray
from balancing.metrics.intervals import Interval
from balancing.metrics.loss_intervals import calibration_intervals, mean_interval
from balancing.metrics.ranking import average_precision_of
from features.labels import LABEL
from flows.gate.clusters import CLUSTER
from flows.gate.contenders import Contender
from flows.gate.latency import Latency, measure_latency
from flows.gate.objective import Compared, compare_objective, compare_scores
from flows.gate.rows import JudgedRows, scores_of
from flows.gate.rule import GateRule
from flows.gate.segments import SegmentGain, caught_gains, segment_gains
from flows.gate.shadow import ShadowEvidence, shadow_evidence
from flows.impact import Impact, compare_decisions
from flows.impact_figures import NEW, OLD
from flows.recalibration import minor_units_of
from infra.objectives import AlertBudgetObjective
from infra.settings import Settings


@dataclass(frozen=True, slots=True)
class Calibration:
    """Whether the scores of one version mean what they say.

    Attributes:
        slope: Cox's; 1 is calibrated.
        intercept: Of the same line; 0 is calibrated.
        expected_error: Expected calibration error.
        brier: Brier score.
    """

    slope: Interval
    intercept: Interval
    expected_error: Interval
    brier: Interval


@dataclass(frozen=True, slots=True)
class LabelledEvidence:
    """What labelled rows say.

    Attributes:
        average_precision: Of both.
        objective: What the champion's policy is for; None where these rows cannot tell.
        caught: Share of the positives reviewed or declined, each by its own policy.
        champion_calibration: Of the champion's scores.
        challenger_calibration: Of the challenger's.
        segments: Segments with enough positives, the worst loss first.
        decided: Alerts, amounts and precision of both, in all and by segment.
    """

    average_precision: Compared
    objective: Compared | None
    caught: Compared
    champion_calibration: Calibration
    challenger_calibration: Calibration
    segments: tuple[SegmentGain, ...]
    decided: Impact


@dataclass(frozen=True, slots=True)
class Evidence:
    """All of it.

    Attributes:
        rows: Labelled rows that neither version has seen.
        positives: Among them.
        labelled: What they say; None where they are too few to say anything.
        alerts: Alerts of both on all of the rows, labelled or not; None without rows.
        budget: Alerts a day that the champion's policy allows; None where it names no number.
        latency: Of single rows.
        shadow: What the challenger said of live traffic; None where it was in nobody's shadow.
    """

    rows: int
    positives: int
    labelled: LabelledEvidence | None
    alerts: Impact | None
    budget: float | None
    latency: Latency
    shadow: ShadowEvidence | None


def gather_evidence(
    settings: Settings,
    champion: Contender,
    challenger: Contender,
    judged: JudgedRows,
    rule: GateRule,
    *,
    seed: int,
) -> Evidence:
    """Return what can be known of both; figures on labels only where the rule's rows are there.

    Args:
        settings: Name the logs.
        champion: The one that answers.
        challenger: The one that would.
        judged: Rows that neither has seen, as both decide them.
        rule: How many rows are needed, and with which confidence intervals hold.
        seed: Same seed, same intervals.

    Raises:
        StateUnavailable: If the shadow log is there and cannot be read.
    """
    rows = judged.labelled
    positives = int((rows[LABEL] == 1).sum())
    is_enough = rows.height >= rule.min_rows and rule.min_positives <= positives < rows.height
    return Evidence(
        rows=rows.height,
        positives=positives,
        labelled=_of_labels(rows, judged, champion, rule, seed=seed) if is_enough else None,
        alerts=compare_decisions(judged.frame) if judged.frame.height else None,
        budget=_budget(champion, judged),
        latency=measure_latency(champion.scorer, challenger.scorer),
        shadow=shadow_evidence(
            settings, challenger.resolved, confidence=rule.confidence, seed=seed
        ),
    )


def _budget(champion: Contender, judged: JudgedRows) -> float | None:
    objective = champion.scorer.policy.thresholds.review.objective
    # A file from the log lacks rows without labels, declines above all: it has no whole day.
    if not isinstance(objective, AlertBudgetObjective) or judged.log_coverage is not None:
        return None
    return objective.alerts_per_day


def _of_labels(
    rows: pl.DataFrame, judged: JudgedRows, champion: Contender, rule: GateRule, *, seed: int
) -> LabelledEvidence:
    decided = compare_decisions(rows, shown_columns=judged.shown_columns)
    label, old, new = scores_of(rows)
    calibration = partial(_calibration, label, confidence=rule.confidence, seed=seed)
    return LabelledEvidence(
        average_precision=compare_scores(
            "average precision", rows, average_precision_of, confidence=rule.confidence, seed=seed
        ),
        objective=compare_objective(
            rows,
            champion.scorer.policy,
            days=decided.days,
            minor_units_per_major=minor_units_of(champion.scorer.bundle.contract),
            confidence=rule.confidence,
            seed=seed,
        ),
        caught=_caught(rows, confidence=rule.confidence, seed=seed),
        champion_calibration=calibration(old),
        challenger_calibration=calibration(new),
        segments=segment_gains(
            rows,
            judged.shown_columns,
            min_positives=rule.min_segment_positives,
            confidence=rule.confidence,
            seed=seed,
        ),
        decided=decided,
    )


def _caught(rows: pl.DataFrame, *, confidence: float, seed: int) -> Compared:
    positives = rows.filter(pl.col(LABEL) == 1)
    interval = partial(mean_interval, cluster=positives[CLUSTER], confidence=confidence, seed=seed)
    old, new = (
        interval((positives[f"{which}_decision"] >= REVIEW).cast(pl.Float64).to_numpy())
        for which in (OLD, NEW)
    )
    return Compared("share of positives caught", old, new, interval(caught_gains(positives)))


def _calibration(
    label: np.ndarray, score: FloatArray, *, confidence: float, seed: int
) -> Calibration:
    line = calibration_line(label, score, confidence=confidence, seed=seed)
    losses = calibration_intervals(label, score, confidence=confidence, seed=seed)
    return Calibration(
        slope=line.slope,
        intercept=line.intercept,
        expected_error=losses["expected_calibration_error"],
        brier=losses["brier_score"],
    )

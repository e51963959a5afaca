"""Everything measured about a score on labelled rows, with intervals and curves."""

import json
from functools import partial
from typing import Any

from numpy.typing import ArrayLike
from pydantic import BaseModel, ConfigDict

from balancing.curves import (
    PrecisionRecallCurve,
    ReliabilityCurve,
    RocCurve,
    ScoreHistogram,
    precision_recall_curve,
    reliability_curve,
    roc_curve,
    score_histogram,
)
from balancing.metrics.alerts import precision_at_k_of, value_detection_rate_of
from balancing.metrics.calibration_quality import (
    check_probabilities,
    reference_brier_score,
    reference_log_loss,
)
from balancing.metrics.cells import check_labels
from balancing.metrics.intervals import N_REPLICATES, Interval, Statistic, bootstrap_intervals
from balancing.metrics.loss_intervals import calibration_intervals
from balancing.metrics.operating_point import recall_at_fpr_of
from balancing.metrics.period import period_days
from balancing.metrics.ranking import average_precision_of, roc_auc_of

REPORTED_FPR = (0.001, 0.01, 0.05)


class Curves(BaseModel):
    """What the plots of an evaluation draw."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    precision_recall: PrecisionRecallCurve
    roc: RocCurve
    reliability: ReliabilityCurve
    histogram: ScoreHistogram


class EvaluationReport(BaseModel):
    """Metrics with 95 % bootstrap intervals, what to compare them with, and curves.

    Attributes:
        n_rows: Rows judged on.
        n_positives: Positives among them.
        period_days: Days the rows cover; ``None`` without event times.
        metrics: By name: ``average_precision``, ``roc_auc``, ``recall_at_fpr_0.001`` (``_0.01``,
            ``_0.05``), ``precision_at_K`` and ``precision_at_n_positives``, ``brier_score``,
            ``log_loss``, ``expected_calibration_error``, ``brier_skill``, ``log_loss_skill``,
            and where rows carry amounts ``value_detection_rate`` (k = the number of positives)
            and ``value_detection_rate_at_K``.
        references: The figure a constant score of the prevalence gets, for ``average_precision``,
            ``roc_auc``, ``brier_score`` and ``log_loss``.
        curves: For plots.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_rows: int
    n_positives: int
    period_days: float | None = None
    metrics: dict[str, Interval]
    references: dict[str, float]
    curves: Curves

    @property
    def prevalence(self) -> float:
        """Share of positives."""
        return self.n_positives / self.n_rows

    def values(self) -> dict[str, float]:
        """Return each metric's value without its interval."""
        return {name: interval.value for name, interval in self.metrics.items()}

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain JSON values; ``from_json`` reads it back."""
        plain: dict[str, Any] = json.loads(self.model_dump_json())
        return plain

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "EvaluationReport":
        """Return the report that ``to_json`` wrote.

        Raises:
            ValidationError: If it is none.
        """
        return cls.model_validate(value)


def evaluate(
    label: ArrayLike,
    risk_score: ArrayLike,
    *,
    amount_minor: ArrayLike | None = None,
    event_time: ArrayLike | None = None,
    ks: tuple[int, ...] = (100, 500),
    n_replicates: int = N_REPLICATES,
    seed: int = 0,
) -> EvaluationReport:
    """Return everything measured about calibrated scores on labelled rows.

    Args:
        label: 0 or 1 per row, at least one of each.
        risk_score: Calibrated probability.
        amount_minor: Amount per row in minor currency units; a missing one counts as 0.
        event_time: When each row happened.
        ks: Alert counts to report precision at; those above the number of rows are left out.
        n_replicates: Resamples behind the intervals.
        seed: Same seed, same intervals.

    Shape:
        ``(n_rows,)`` each.

    Raises:
        ValueError: If a class is missing, a label is not 0 or 1, or a score is outside [0, 1].
    """
    check_labels(label, both_classes=True)
    labels, scores = check_probabilities(label, risk_score)
    n_positives = int(labels.sum())
    statistics = _ranking_statistics(
        [k for k in ks if k <= len(labels)], n_positives, has_amount=amount_minor is not None
    )
    ranking = bootstrap_intervals(
        labels, scores, statistics, amount=amount_minor, n_replicates=n_replicates, seed=seed
    )
    quality = calibration_intervals(labels, scores, n_replicates=n_replicates, seed=seed)
    return EvaluationReport(
        n_rows=len(labels),
        n_positives=n_positives,
        period_days=None if event_time is None else period_days(event_time),
        metrics={**ranking, **quality},
        references=_references(n_positives / len(labels)),
        curves=Curves(
            precision_recall=precision_recall_curve(labels, scores),
            roc=roc_curve(labels, scores),
            reliability=reliability_curve(labels, scores),
            histogram=score_histogram(labels, scores),
        ),
    )


def _ranking_statistics(
    ks: list[int], n_positives: int, *, has_amount: bool
) -> dict[str, Statistic]:
    statistics: dict[str, Statistic] = {
        "average_precision": average_precision_of,
        "roc_auc": roc_auc_of,
    }
    for max_fpr in REPORTED_FPR:
        statistics[f"recall_at_fpr_{max_fpr:g}"] = partial(recall_at_fpr_of, max_fpr=max_fpr)
    statistics["precision_at_n_positives"] = partial(precision_at_k_of, k=n_positives)
    for k in ks:
        statistics[f"precision_at_{k}"] = partial(precision_at_k_of, k=k)
    if has_amount:
        statistics["value_detection_rate"] = partial(value_detection_rate_of, k=n_positives)
        for k in ks:
            statistics[f"value_detection_rate_at_{k}"] = partial(value_detection_rate_of, k=k)
    return statistics


def _references(prevalence: float) -> dict[str, float]:
    return {
        "average_precision": prevalence,
        "roc_auc": 0.5,
        "brier_score": float(reference_brier_score(prevalence)),
        "log_loss": float(reference_log_loss(prevalence)),
    }

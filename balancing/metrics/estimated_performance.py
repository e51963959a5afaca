"""What a policy probably achieves on rows whose labels nobody knows yet: an estimate.

Confidence-based: a row with a calibrated score of 0.2 is positive in one case of five, so expected
positives among alerts and among the rest follow from the scores alone. It rests on calibration.
Where the same row has become riskier than it was (a concept change) scores, and with them the
estimate, do not move; only labels show that. A figure made here is called an estimate wherever it
is shown.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from balancing.metrics.cells import FloatArray, IntArray, ScoreCells, share
from balancing.metrics.intervals import Interval, percentile_interval
from balancing.metrics.loss_intervals import RowGroups
from balancing.metrics.ranking import average_precision_of

N_REPLICATES = 200


@dataclass(frozen=True, slots=True)
class EstimatedPerformance:
    """Estimates with the interval that chance alone would give, were the scores calibrated.

    Attributes:
        positives: Expected number.
        precision: Expected share of positives among the alerts; NaN without alerts.
        recall: Expected share of the positives that are alerts.
        average_precision: Expected, by the score.
    """

    positives: Interval
    precision: Interval
    recall: Interval
    average_precision: Interval


def estimate_performance(
    risk_score: ArrayLike,
    is_alert: ArrayLike,
    *,
    n_replicates: int = N_REPLICATES,
    seed: int = 0,
) -> EstimatedPerformance:
    """Return what calibrated scores promise of the decisions that were made by them.

    Args:
        risk_score: Calibrated probability, one per row.
        is_alert: Whether the row was reviewed or declined.
        n_replicates: Draws of labels behind the intervals. Rows with nearly the same score are
            drawn together.
        seed: Same seed, same intervals.

    Raises:
        ValueError: If there is no row, or a score is not in [0, 1].
    """
    scores, alerts = np.asarray(risk_score, dtype=np.float64), np.asarray(is_alert, dtype=bool)
    if scores.ndim != 1 or not scores.size or scores.shape != alerts.shape:
        raise ValueError(f"risk_score and is_alert need a value a row. Got shape {scores.shape}.")
    if not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError("risk_score must be in [0, 1]: pass calibrated probabilities.")
    groups = RowGroups.by(scores, keep_apart=alerts.astype(np.int64))
    chance, is_alert_group = groups.mean(scores), groups.mean(alerts.astype(np.float64)) > 0.5
    order = np.argsort(-chance, kind="stable")
    sizes, chance, is_alert_group = groups.sizes[order], chance[order], is_alert_group[order]
    # Rows of one score are one step of a curve, however many groups they are drawn in.
    steps = np.flatnonzero(np.append(True, np.diff(chance) < 0))
    rng = np.random.default_rng(seed)
    drawn = rng.binomial(sizes, np.clip(chance, 0, 1), (n_replicates, len(sizes)))
    expected = _figures((sizes * chance)[None], sizes, is_alert_group, steps)
    replicates = _figures(drawn.astype(np.float64), sizes, is_alert_group, steps)
    return EstimatedPerformance(
        **{
            name: percentile_interval(float(expected[name][0]), replicates[name])
            for name in expected
        }
    )


def _figures(
    positives: FloatArray, sizes: IntArray, is_alert: NDArray[np.bool_], steps: IntArray
) -> dict[str, FloatArray]:
    """Return each figure per set of positives, ``(n_replicates, n_groups)``, highest score first.

    ``steps`` are the groups that begin a new score.

    The expectation of a ratio is taken as the ratio of expectations: beside the spread of the
    ratio itself the difference is small where a handful of positives is expected.
    """
    total, found = positives.sum(axis=1), positives[:, is_alert].sum(axis=1)
    n_alerts = np.full_like(found, sizes[is_alert].sum())
    cells = np.add.reduceat(positives, steps, axis=1)
    rows = np.add.reduceat(sizes, steps)
    return {
        "positives": total,
        "precision": share(found, n_alerts),
        "recall": share(found, total),
        "average_precision": average_precision_of(ScoreCells(cells, rows - cells)),
    }

"""What a threshold does: recall at a false-positive rate, precision at a recall, alert rate.

A row is an alert when its score is at or above the threshold. A constraint that no threshold
meets gives NaN, and the caller decides.
"""

import numpy as np
from numpy.typing import ArrayLike

from balancing.metrics.cells import (
    FloatArray,
    ScoreCells,
    check_labels,
    check_scores,
    count_cells,
    share,
)


def recall_at_fpr(label: ArrayLike, score: ArrayLike, *, max_fpr: float) -> float:
    """Return the highest recall whose false-positive rate is at most ``max_fpr``.

    Raises:
        ValueError: If a class is missing or ``max_fpr`` is outside (0, 1].

    Example:
        >>> recall_at_fpr([0, 0, 1, 1], [0.1, 0.8, 0.4, 0.9], max_fpr=0.4)
        0.5
    """
    return float(recall_at_fpr_of(count_cells(label, score, both_classes=True), max_fpr=max_fpr))


def precision_at_recall(label: ArrayLike, score: ArrayLike, *, min_recall: float) -> float:
    """Return the highest precision whose recall is at least ``min_recall``.

    Raises:
        ValueError: If there is no positive or ``min_recall`` is outside (0, 1].

    Example:
        >>> precision_at_recall([0, 0, 1, 1], [0.1, 0.8, 0.4, 0.9], min_recall=0.5)
        1.0
    """
    return float(precision_at_recall_of(count_cells(label, score), min_recall=min_recall))


def recall_at_fpr_of(cells: ScoreCells, *, max_fpr: float) -> FloatArray:
    """Return the recall at a false-positive rate per set of counts, ``(*, n_cells)`` -> ``(*)``."""
    _check_share("max_fpr", max_fpr)
    allowed = share(cells.false_positives, cells.n_negatives) <= max_fpr
    found = np.where(allowed, cells.true_positives, 0.0).max(axis=-1)
    return share(found, cells.n_positives[..., 0])


def recall_at_precision_of(cells: ScoreCells, *, min_precision: float) -> FloatArray:
    """Return the recall at a precision per set of counts -> ``(*)``; 0 where none reaches it."""
    _check_share("min_precision", min_precision)
    found = cells.true_positives
    precision = np.nan_to_num(share(found, found + cells.false_positives))
    best = np.where(precision >= min_precision, found, 0.0).max(axis=-1)
    return share(best, cells.n_positives[..., 0])


def precision_at_recall_of(cells: ScoreCells, *, min_recall: float) -> FloatArray:
    """Return the precision at a recall per set of counts, ``(*, n_cells)`` -> ``(*)``."""
    _check_share("min_recall", min_recall)
    found = cells.true_positives
    precision = np.nan_to_num(share(found, found + cells.false_positives))
    enough = share(found, cells.n_positives) >= min_recall
    best = np.where(enough, precision, 0.0).max(axis=-1)
    return np.where(enough.any(axis=-1), best, np.nan)


def alert_rate(score: ArrayLike, *, threshold: float) -> float:
    """Return the share of rows at or above the threshold; NaN without rows."""
    scores = np.asarray(score, dtype=np.float64)
    return float(np.mean(scores >= threshold)) if scores.size else float("nan")


def false_positive_rate_at(label: ArrayLike, score: ArrayLike, *, threshold: float) -> float:
    """Return the share of negatives at or above the threshold; NaN without negatives."""
    return _alert_share(label, score, threshold=threshold, among=0)


def recall_at(label: ArrayLike, score: ArrayLike, *, threshold: float) -> float:
    """Return the share of positives at or above the threshold.

    Raises:
        ValueError: If there is no positive.
    """
    return _alert_share(label, score, threshold=threshold, among=1)


def precision_at(label: ArrayLike, score: ArrayLike, *, threshold: float) -> float:
    """Return the share of positives among the rows at or above the threshold; NaN without any."""
    labels = check_labels(label)
    alerts = check_scores(score, len(labels)) >= threshold
    return float(labels[alerts].mean()) if alerts.any() else float("nan")


def _alert_share(label: ArrayLike, score: ArrayLike, *, threshold: float, among: int) -> float:
    labels = check_labels(label)
    rows = check_scores(score, len(labels))[labels == among]
    return float(np.mean(rows >= threshold)) if rows.size else float("nan")


def _check_share(name: str, value: float) -> None:
    if not 0 < value <= 1:
        raise ValueError(f"{name} must be in (0, 1]. Got {name}={value:g}.")

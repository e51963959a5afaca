"""How well scores rank positives above negatives; equal to scikit-learn, ties included."""

import numpy as np
from numpy.typing import ArrayLike

from balancing.metrics.cells import FloatArray, ScoreCells, count_cells, share


def average_precision(label: ArrayLike, score: ArrayLike) -> float:
    """Return the sum of precision times recall gained, over descending thresholds.

    Args:
        label: 0 or 1 per row, at least one 1.
        score: Higher means riskier.

    Shape:
        ``(n_rows,)``, ``(n_rows,)`` -> float in (0, 1].

    Raises:
        ValueError: If there is no positive.

    Example:
        >>> average_precision([0, 1, 0, 1], [0.1, 0.4, 0.6, 0.9])
        0.8333333333333333
    """
    return float(average_precision_of(count_cells(label, score)))


def roc_auc(label: ArrayLike, score: ArrayLike) -> float:
    """Return the chance that a positive outranks a negative; a tie counts half.

    Raises:
        ValueError: If a class is missing.

    Example:
        >>> roc_auc([0, 1, 0, 1], [0.1, 0.4, 0.6, 0.9])
        0.75
    """
    return float(roc_auc_of(count_cells(label, score, both_classes=True)))


def average_precision_of(cells: ScoreCells) -> FloatArray:
    """Return the average precision of each set of counts, ``(*, n_cells)`` -> ``(*)``."""
    found = cells.true_positives
    precision = np.nan_to_num(share(found, found + cells.false_positives))
    weighted = (cells.positives * precision).sum(axis=-1)
    return share(weighted, cells.n_positives[..., 0])


def roc_auc_of(cells: ScoreCells) -> FloatArray:
    """Return the ROC-AUC of each set of counts, ``(*, n_cells)`` -> ``(*)``."""
    outranked = cells.n_negatives - cells.false_positives + cells.negatives / 2
    wins = (cells.positives * outranked).sum(axis=-1)
    return share(wins, cells.n_positives[..., 0] * cells.n_negatives[..., 0])

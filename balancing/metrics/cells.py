"""Rows counted by score: the one form over which every ranking metric is a formula.

A cell holds the rows of one score, highest score first, as a count of positives and a count of
negatives. Counts may carry leading axes: a bootstrap replicate is a row of counts, so a metric
and its interval share one formula and nothing is ever sorted twice.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ScoreCells:
    """Positives and negatives by descending score.

    Attributes:
        positives: Positive rows per cell, float64 (weights of a replicate are whole numbers).
        negatives: Negative rows per cell, float64.
        positive_amount: Summed amount of the positives per cell; ``None`` without amounts.

    Shape:
        ``(*, n_cells)`` each; ``*`` is empty for the data themselves, ``(n_replicates,)`` for
        resamples.
    """

    positives: FloatArray
    negatives: FloatArray
    positive_amount: FloatArray | None = None

    @property
    def n_positives(self) -> FloatArray:
        """Positive rows in all, ``(*, 1)``."""
        return np.asarray(self.positives.sum(axis=-1, keepdims=True))

    @property
    def n_negatives(self) -> FloatArray:
        """Negative rows in all, ``(*, 1)``."""
        return np.asarray(self.negatives.sum(axis=-1, keepdims=True))

    @property
    def true_positives(self) -> FloatArray:
        """Positive rows down to and including each cell, ``(*, n_cells)``."""
        return self.positives.cumsum(axis=-1, dtype=np.float64)

    @property
    def false_positives(self) -> FloatArray:
        """Negative rows down to and including each cell, ``(*, n_cells)``."""
        return self.negatives.cumsum(axis=-1, dtype=np.float64)


def check_labels(label: ArrayLike, *, both_classes: bool = False) -> IntArray:
    """Return labels as int64 after checking that they are 0 and 1 and hold positives.

    Raises:
        ValueError: If there is no row, another value than 0 and 1, no positive, or, with
            ``both_classes``, no negative.
    """
    labels = np.asarray(label)
    if labels.ndim != 1 or len(labels) == 0:
        raise ValueError(f"label must be one-dimensional with rows. Got shape {labels.shape}.")
    if not np.isin(labels, (0, 1)).all():
        other = labels[~np.isin(labels, (0, 1))][0]
        raise ValueError(f"label must hold 0 and 1 only. Got {other}.")
    if not labels.any():
        raise ValueError(f"The metric needs at least one positive. Got 0 among {len(labels)} rows.")
    if both_classes and labels.all():
        raise ValueError(f"The metric needs at least one negative. Got 0 among {len(labels)} rows.")
    return labels.astype(np.int64)


def check_scores(score: ArrayLike, n_rows: int, *, name: str = "score") -> FloatArray:
    """Return one finite-or-infinite number per row as float64, refusing NaN.

    Raises:
        ValueError: If the length is not ``n_rows`` or a value is NaN.
    """
    scores = np.asarray(score, dtype=np.float64)
    if scores.shape != (n_rows,):
        raise ValueError(f"{name} must have one value per label ({n_rows}). Got {scores.shape}.")
    if np.isnan(scores).any():
        raise ValueError(f"{name} must not hold NaN. Got {int(np.isnan(scores).sum())} of them.")
    return scores


def descending_cells(score: FloatArray) -> tuple[FloatArray, IntArray]:
    """Return the distinct scores, highest first, and each row's place among them.

    Shape:
        ``(n_rows,)`` -> ``(n_cells,)`` and ``(n_rows,)``.
    """
    distinct, place = np.unique(score, return_inverse=True)
    return distinct[::-1], len(distinct) - 1 - place.astype(np.int64)


def count_cells(
    label: ArrayLike,
    score: ArrayLike,
    *,
    amount: ArrayLike | None = None,
    both_classes: bool = False,
) -> ScoreCells:
    """Count positives and negatives at every distinct score, highest first.

    Args:
        label: 0 or 1 per row.
        score: Higher means riskier; ties are kept together.
        amount: Value of each row, any unit; missing and negative ones count as 0.
        both_classes: Whether a negative is needed as well.

    Raises:
        ValueError: If labels or scores are unusable.
    """
    labels = check_labels(label, both_classes=both_classes)
    scores = check_scores(score, len(labels))
    distinct, place = descending_cells(scores)
    positives = _sum_by_cell(place, labels.astype(np.float64), len(distinct))
    rows = _sum_by_cell(place, np.ones(len(labels)), len(distinct))
    amounts = None
    if amount is not None:
        amounts = _sum_by_cell(place, positive_amounts(amount, labels), len(distinct))
    return ScoreCells(positives, rows - positives, amounts)


def positive_amounts(amount: ArrayLike, label: IntArray) -> FloatArray:
    """Return the amount of each positive row and 0 elsewhere.

    A missing amount counts as 0, and so does a negative one: tables hold refunds, and a missed
    refund loses nothing.

    Raises:
        ValueError: If the length differs.
    """
    amounts = np.asarray(amount, dtype=np.float64)
    if amounts.shape != label.shape:
        raise ValueError(
            f"amount must have one value per label ({len(label)}). Got {amounts.shape}."
        )
    return np.where(label == 1, np.maximum(np.nan_to_num(amounts), 0.0), 0.0)


def share(part: FloatArray, whole: FloatArray) -> FloatArray:
    """Return ``part / whole``, NaN where there is nothing to divide by (an empty replicate)."""
    out = np.full(np.broadcast_shapes(part.shape, whole.shape), np.nan)
    np.divide(part, whole, out=out, where=whole > 0)
    return out


def _sum_by_cell(place: IntArray, value: FloatArray, n_cells: int) -> FloatArray:
    return np.bincount(place, weights=value, minlength=n_cells).astype(np.float64)

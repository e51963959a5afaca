"""How well one column alone tells the two classes apart: what gives away a leak.

A column that almost decides the label by itself was most likely written after the outcome was
known. ROC-AUC is used because it does not depend on scale, and both directions count.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_N_FOLDS = 5
_MAX_CODES = 50


def single_column_auc(column: pl.Series, is_positive: BoolArray) -> float:
    """Return the ROC-AUC of the best way to rank rows by this column alone, at least 0.5.

    Numbers and moments rank by their value, in the better direction, with missing values put
    last or first, whichever is better. Text, and numbers that may be codes, rank by the share
    of positives among the *other* rows with the same value (out of fold), so that an
    identifier scores about 0.5.

    Args:
        column: One column.
        is_positive: The label.

    Shape:
        ``(n_rows,)``, ``(n_rows,)`` bool -> one number; 0.5 where a class is empty.
    """
    if is_positive.all() or not is_positive.any():
        return 0.5
    best = 0.5
    if _is_ordered(column.dtype):
        values = column.to_physical().cast(pl.Float64).to_numpy()
        best = max(_auc(ranks, is_positive) for ranks in _directions(values))
    if not _is_ordered(column.dtype) or column.n_unique() <= _MAX_CODES:
        best = max(best, _auc(_out_of_fold_rate(column, is_positive), is_positive))
    return best


def _is_ordered(dtype: pl.DataType) -> bool:
    return dtype.is_numeric() or dtype.is_temporal() or dtype == pl.Boolean


def _directions(values: FloatArray) -> list[FloatArray]:
    """Return the values upwards and downwards, each with the missing ones at either end."""
    is_missing = np.isnan(values)
    ranked = [_ranks(np.where(is_missing, 0.0, sign * values)) for sign in (1.0, -1.0)]
    if not is_missing.any():
        return ranked
    ends = (-1.0, float(len(values)) + 1)
    return [np.where(is_missing, end, ranks) for ranks in ranked for end in ends]


def _auc(score: FloatArray, is_positive: BoolArray) -> float:
    """Return the share of pairs in order; ties count one half (Mann-Whitney)."""
    n_positive = int(is_positive.sum())
    n_negative = len(is_positive) - n_positive
    above = _ranks(score)[is_positive].sum() - n_positive * (n_positive - 1) / 2
    return float(above / (n_positive * n_negative))


def _ranks(values: FloatArray) -> FloatArray:
    """Return mean ranks from 0 among equal values."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    means: FloatArray = ends - (counts + 1) / 2
    return means[inverse]


def _out_of_fold_rate(column: pl.Series, is_positive: BoolArray) -> FloatArray:
    """Return each row's share of positives with the same value in the other folds.

    The fold is drawn without looking at the order of the rows, which often follows the label.
    """
    fold = np.random.default_rng(0).integers(_N_FOLDS, size=len(column))
    frame = pl.DataFrame({"value": column.cast(pl.String), "fold": fold, "positive": is_positive})
    total, inside = pl.col("positive").sum(), pl.len()
    other_positive = total.over("value") - total.over("value", "fold")
    other_rows = inside.over("value") - inside.over("value", "fold")
    prior = float(is_positive.mean())
    # One row's worth of the overall share: a value seen nowhere else says nothing.
    rate = (other_positive.cast(pl.Int64) + prior) / (other_rows.cast(pl.Int64) + 1)
    return frame.select(rate.alias("rate"))["rate"].to_numpy()

"""Shares and counts with intervals that hold where rows are few."""

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from balancing.metrics.cells import FloatArray
from balancing.metrics.intervals import CONFIDENCE, Interval

_Z = 1.96


def share_of(part: int, whole: int) -> float | None:
    """Return the share of rows in all rows; None where there are none."""
    return part / whole if whole else None


def wilson_ends(share: FloatArray, n_rows: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the ends of the 95 % Wilson interval of shares of ``n_rows`` rows, all above 0.

    Shape:
        ``(*)`` each -> ``(*)`` each.
    """
    z2 = _Z**2
    centre = (share + z2 / (2 * n_rows)) / (1 + z2 / n_rows)
    spread = np.sqrt(share * (1 - share) / n_rows + z2 / (4 * n_rows**2))
    half = _Z * spread / (1 + z2 / n_rows)
    return np.clip(centre - half, 0, 1), np.clip(centre + half, 0, 1)


def share_interval(is_hit: ArrayLike, weight: ArrayLike | None = None) -> Interval:
    """Return the share of hits with its 95 % Wilson interval; NaN without rows.

    Weighted rows count as many as Kish's effective number of rows, (sum w)^2 / sum w^2 ("Survey
    Sampling", 1965): rows that stand for a hundred others say less than a hundred rows would.

    Args:
        is_hit: True or 1 for a hit.
        weight: Of each row, at least 0; default: 1 each.

    Example:
        >>> print(share_interval([1, 1, 0, 0]))
        0.5 [0.15, 0.85]
    """
    hits = np.asarray(is_hit, dtype=np.float64)
    weights = np.ones_like(hits) if weight is None else np.asarray(weight, dtype=np.float64)
    total = float(weights.sum())
    if not total:
        return Interval(np.nan, np.nan, np.nan)
    share, n_effective = weights @ hits / total, total**2 / (weights @ weights)
    low, high = wilson_ends(np.array(share), np.array(n_effective))
    return Interval(float(share), float(low), float(high))


def count_interval(count: int) -> Interval:
    """Return a count with the exact 95 % interval of a Poisson mean (Garwood, 1936).

    Example:
        >>> print(count_interval(10))
        10 [4.795, 18.39]
    """
    tail = (1 - CONFIDENCE) / 2
    low = stats.chi2.ppf(tail, 2 * count) / 2 if count else 0.0
    return Interval(float(count), float(low), float(stats.chi2.isf(tail, 2 * count + 2) / 2))


def p_value_of_rise(before: tuple[int, int], now: tuple[int, int]) -> float:
    """Return how likely a share rises so far by chance: one-sided, two pooled shares.

    Args:
        before: Hits and rows.
        now: Hits and rows.

    Example:
        >>> round(p_value_of_rise((10, 1000), (30, 1000)), 4)
        0.0007
    """
    (hits, n_rows), (new_hits, n_new) = before, now
    if not n_rows or not n_new:
        return 1.0
    pooled = (hits + new_hits) / (n_rows + n_new)
    spread = np.sqrt(pooled * (1 - pooled) * (1 / n_rows + 1 / n_new))
    if not spread:
        return 1.0
    return float(stats.norm.sf((new_hits / n_new - hits / n_rows) / spread))

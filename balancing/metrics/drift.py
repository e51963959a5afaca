"""How far a column has moved: stability index, Kolmogorov-Smirnov or chi-square, corrected.

Two questions are kept apart. *How far* is the population stability index, an effect size that
does not grow with the number of rows; its usual marks are 0.1 (look) and 0.25 (act). *Could it be
chance* is a p-value; of many columns some are small by chance, so they are adjusted (Benjamini and
Hochberg, 1995). A p-value of millions of rows calls everything a change: it guards, and never
decides alone.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from balancing.metrics.cells import FloatArray, IntArray

N_BINS = 10
SMOOTHING = 0.5
"""Rows added to every bin on both sides, so that an empty bin is not infinitely far away."""

_FEWEST_EXPECTED = 5.0
_FEWEST_PAIRS = 10_000


@dataclass(frozen=True, slots=True)
class Drift:
    """What became of one column.

    Attributes:
        stability_index: Population stability index, 0 for equal shares.
        statistic: Kolmogorov-Smirnov distance of numbers, Cramér's V of categories.
        p_value: Of that statistic, not adjusted.
        edges: Inner edges of a number's bins, ``(n_bins - 1,)``; empty for categories.
        reference: Share of the reference's rows by bin or category.
        current: Share of the current rows likewise.
    """

    stability_index: float
    statistic: float
    p_value: float
    edges: FloatArray
    reference: FloatArray
    current: FloatArray


def numeric_drift(reference: ArrayLike, current: ArrayLike, *, n_bins: int = N_BINS) -> Drift:
    """Return how far the values of a numeric column have moved.

    Args:
        reference: Values, none missing.
        current: Values, none missing.
        n_bins: Bins of the stability index, cut at the reference's quantiles.

    Raises:
        ValueError: If either has no value or holds NaN.
    """
    before, now = _values("reference", reference), _values("current", current)
    edges = quantile_edges(before, n_bins=n_bins)
    counts = [_counted(values, edges) for values in (before, now)]
    # The asymptotic p-value errs to the safe side where values are tied; it has none of few rows.
    is_large = len(before) * len(now) >= _FEWEST_PAIRS
    tested = stats.ks_2samp(before, now, method="asymp" if is_large else "exact")
    return Drift(
        stability_index=population_stability_index(*counts),
        statistic=float(tested.statistic),
        p_value=float(tested.pvalue),
        edges=edges,
        reference=counts[0] / len(before),
        current=counts[1] / len(now),
    )


def categorical_drift(reference: ArrayLike, current: ArrayLike) -> Drift:
    """Return how far the shares of categories have moved.

    Args:
        reference: Rows per category.
        current: Rows per category, in the same order.

    Raises:
        ValueError: If the lengths differ or either has no row.
    """
    before, now = _counts("reference", reference), _counts("current", current)
    if before.shape != now.shape:
        raise ValueError(
            f"Both need a count for every category. Got {before.shape} and {now.shape}."
        )
    statistic, p_value = _chi_square(before, now)
    return Drift(
        stability_index=population_stability_index(before, now),
        statistic=statistic,
        p_value=p_value,
        edges=np.empty(0),
        reference=before / before.sum(),
        current=now / now.sum(),
    )


def population_stability_index(reference: ArrayLike, current: ArrayLike) -> float:
    """Return the sum of (p - q) ln(p / q) over bins, with shares smoothed by half a row a bin.

    Without any change it is about ``(n_bins - 1) (1 / n_reference + 1 / n_current)``.

    Args:
        reference: Rows per bin.
        current: Rows per bin.

    Example:
        >>> round(population_stability_index([50, 50], [50, 50]), 4)
        0.0
        >>> round(population_stability_index([500, 500], [250, 750]), 3)
        0.274
    """
    before, now = _counts("reference", reference), _counts("current", current)
    p, q = ((each + SMOOTHING) / (each + SMOOTHING).sum() for each in (before, now))
    return float(((q - p) * np.log(q / p)).sum())


def quantile_edges(values: FloatArray, *, n_bins: int = N_BINS) -> FloatArray:
    """Return the inner edges of bins of even mass; bin i holds ``edges[i-1] <= x < edges[i]``.

    A value that several quantiles fall on gets a bin of its own: of a column that is mostly zero
    both a rise and a fall are seen.

    Example:
        >>> quantile_edges(np.array([0.0, 0.0, 0.0, 0.0]), n_bins=4).round(3)
        array([0., 0.])
    """
    quantiles = np.quantile(values, np.linspace(0, 1, n_bins + 1)[1:-1], method="inverted_cdf")
    edges, times = np.unique(quantiles, return_counts=True)
    own = np.nextafter(edges[times > 1], np.inf)
    return np.unique(np.concatenate([edges, own])).astype(np.float64)


def adjusted_p_values(p_values: ArrayLike) -> FloatArray:
    """Return p-values adjusted for their number (Benjamini and Hochberg).

    Example:
        >>> adjusted_p_values([0.01, 0.04, 0.5]).round(3)
        array([0.03, 0.06, 0.5 ])
    """
    values = np.asarray(p_values, dtype=np.float64)
    if not values.size:
        return values
    adjusted: FloatArray = stats.false_discovery_control(values, method="bh")
    return adjusted


def _chi_square(before: FloatArray, now: FloatArray) -> tuple[float, float]:
    """Return Cramér's V and its p-value; categories too rare for the test count as one."""
    table = np.stack([before, now])
    together = table.sum(axis=0)
    table, together = table[:, together > 0], together[together > 0]
    smaller = table.sum(axis=1).min() / table.sum()
    is_rare = together * smaller < _FEWEST_EXPECTED
    if is_rare.any():
        pooled = table[:, is_rare].sum(axis=1, keepdims=True)
        table = np.concatenate([table[:, ~is_rare], pooled], axis=1)
    if table.shape[1] < 2:
        return 0.0, 1.0
    tested = stats.chi2_contingency(table, correction=False)
    return float(np.sqrt(tested.statistic / table.sum())), float(tested.pvalue)


def _counted(values: FloatArray, edges: FloatArray) -> FloatArray:
    place: IntArray = np.searchsorted(edges, values, side="right").astype(np.int64)
    return np.bincount(place, minlength=len(edges) + 1).astype(np.float64)


def _values(name: str, values: ArrayLike) -> FloatArray:
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 1 or not found.size or np.isnan(found).any():
        raise ValueError(f"{name} must hold values, none of them NaN. Got shape {found.shape}.")
    return found


def _counts(name: str, counts: ArrayLike) -> FloatArray:
    found = np.asarray(counts, dtype=np.float64)
    if found.ndim != 1 or not (found >= 0).all() or not found.sum():
        raise ValueError(f"{name} must hold counts of at least one row. Got {found.tolist()}.")
    return found

"""Bootstrap intervals of figures that are sums over rows: Brier score, log-loss, calibration error.

Rows are ordered by residual. The outermost thousands, which carry the loss, are resampled one by
one; the many between them, alike to the third digit and more, in small groups whose summed
weight is one Poisson draw. Against resampling every row this shifts an end of an interval by far
less than drawing other resamples does.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from balancing.metrics.calibration_quality import (
    Binning,
    assign_bins,
    check_probabilities,
    log_losses,
    reference_brier_score,
    reference_log_loss,
    squared_errors,
)
from balancing.metrics.cells import FloatArray, IntArray, share
from balancing.metrics.intervals import CONFIDENCE, N_REPLICATES, Interval, percentile_interval
from balancing.metrics.resampling import cluster_numbers

_SINGLE_ROWS_A_SIDE = 2048
_GROUPS_BETWEEN = 4096
_WEIGHTS_AT_ONCE = 4_000_000


@dataclass(frozen=True, slots=True)
class RowGroups:
    """Groups of rows with nearly the same values.

    Attributes:
        group: Group of each row, ``(n_rows,)``.
        sizes: Rows per group, ``(n_groups,)``.
    """

    group: IntArray
    sizes: IntArray

    @classmethod
    def by(cls, key: FloatArray, *, keep_apart: IntArray | None = None) -> "RowGroups":
        """Group rows next to each other in ``key``; rows that differ in ``keep_apart`` never."""
        rank = np.empty(len(key), dtype=np.int64)
        rank[np.argsort(key, kind="stable")] = np.arange(len(key))
        code = _thin(rank, len(key))
        if keep_apart is not None:
            code = code * (int(keep_apart.max()) + 1) + keep_apart
        _, group, sizes = np.unique(code, return_inverse=True, return_counts=True)
        return cls(group.astype(np.int64), sizes.astype(np.int64))

    @classmethod
    def single(cls, n_rows: int) -> "RowGroups":
        """Keep every row apart."""
        return cls(np.arange(n_rows, dtype=np.int64), np.ones(n_rows, dtype=np.int64))

    def mean(self, value: FloatArray) -> FloatArray:
        """Return the mean of a value per group, ``(n_rows,)`` -> ``(n_groups,)``."""
        means: FloatArray = np.bincount(self.group, weights=value) / self.sizes
        return means

    def draw(self, columns: FloatArray, n_replicates: int, *, seed: int) -> FloatArray:
        """Return the weighted sum of each column in each resample.

        Shape:
            ``(n_groups, n_columns)`` -> ``(n_replicates, n_columns)``.
        """
        rng = np.random.default_rng(seed)
        block = max(1, _WEIGHTS_AT_ONCE // len(self.sizes))
        sums = []
        for start in range(0, n_replicates, block):
            n = min(block, n_replicates - start)
            weights = rng.poisson(self.sizes, (n, len(self.sizes))).astype(np.float64)
            sums.append(weights @ columns)
        return np.concatenate(sums)


def mean_interval(
    value: ArrayLike,
    *,
    cluster: ArrayLike | None = None,
    n_replicates: int = N_REPLICATES,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Interval:
    """Return the mean over rows with its interval.

    Of two models' losses on the same rows, pass the difference: the interval is then paired.

    Args:
        value: One per row.
        cluster: What each row belongs to, where rows of one are no independent draws.
        n_replicates: Resamples drawn.
        confidence: Share of the replicates between the two ends.
        seed: Same seed, same interval.

    Raises:
        ValueError: If there is no row or a value is not finite.
    """
    values = np.asarray(value, dtype=np.float64)
    if values.ndim != 1 or not values.size or not np.isfinite(values).all():
        raise ValueError(f"value must be finite, one per row. Got shape {values.shape}.")
    if cluster is not None:
        numbers = cluster_numbers(cluster, len(values))
        # Each cluster as a whole: one row that has the sums of its rows.
        sizes = np.bincount(numbers).astype(np.float64)
        columns = np.stack([np.bincount(numbers, weights=values), sizes], axis=1)
        groups = RowGroups.single(len(columns))
    else:
        groups = RowGroups.by(values)
        columns = np.stack([groups.mean(values), np.ones(len(groups.sizes))], axis=1)
    total, n_rows = groups.draw(columns, n_replicates, seed=seed).T
    return percentile_interval(float(values.mean()), share(total, n_rows), confidence=confidence)


def calibration_intervals(
    label: ArrayLike,
    probability: ArrayLike,
    *,
    n_bins: int = 15,
    binning: Binning = "equal_mass",
    n_replicates: int = N_REPLICATES,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> dict[str, Interval]:
    """Return Brier score, log-loss and calibration error with their intervals.

    ``brier_skill`` and ``log_loss_skill`` are 1 - loss / loss of predicting the prevalence, both
    from the same resample: above 0 the score says more than the base rate does.

    A resample adds its own noise to a calibration error, which is a sum of distances, so its
    replicates lie too high; they are shifted by their bias and held at 0.

    Raises:
        ValueError: If there is no positive or a probability is outside [0, 1].
    """
    labels, probabilities = check_probabilities(label, probability)
    bins = assign_bins(probabilities, n_bins=n_bins, binning=binning)
    groups = RowGroups.by(probabilities - labels, keep_apart=bins)
    columns = _loss_columns(groups, labels, probabilities, bins)
    observed = _figures((groups.sizes.astype(np.float64) @ columns)[None])
    drawn = _figures(groups.draw(columns, n_replicates, seed=seed))
    error = "expected_calibration_error"
    bias = np.nanmean(drawn[error]) - observed[error][0]
    drawn[error] = np.maximum(drawn[error] - bias, 0.0)
    interval = partial(percentile_interval, confidence=confidence)
    return {name: interval(float(observed[name][0]), drawn[name]) for name in observed}


def _loss_columns(
    groups: RowGroups, label: IntArray, probability: FloatArray, bins: IntArray
) -> FloatArray:
    """Return per group: 1, label, squared error, log-loss, and the residual in its bin's column."""
    residual = groups.mean(probability - label)
    bin_of_group = groups.mean(bins.astype(np.float64)).round().astype(np.int64)
    by_bin = np.zeros((len(residual), int(bins.max()) + 1))
    by_bin[np.arange(len(residual)), bin_of_group] = residual
    return np.column_stack(
        [
            np.ones(len(residual)),
            groups.mean(label.astype(np.float64)),
            groups.mean(squared_errors(label, probability)),
            groups.mean(log_losses(label, probability)),
            by_bin,
        ]
    )


def _figures(sums: FloatArray) -> dict[str, FloatArray]:
    n_rows, n_positives, squared, losses = sums[:, :4].T
    prevalence = share(n_positives, n_rows)
    brier, log_loss = share(squared, n_rows), share(losses, n_rows)
    return {
        "brier_score": brier,
        "log_loss": log_loss,
        "expected_calibration_error": share(np.abs(sums[:, 4:]).sum(axis=1), n_rows),
        "brier_skill": 1 - share(brier, reference_brier_score(prevalence)),
        "log_loss_skill": 1 - share(log_loss, reference_log_loss(prevalence)),
    }


def _thin(rank: IntArray, n_rows: int) -> IntArray:
    """Return a coarser rank: single at both ends, even groups between."""
    low, high = _SINGLE_ROWS_A_SIDE, n_rows - _SINGLE_ROWS_A_SIDE
    if high - low <= _GROUPS_BETWEEN:
        return rank
    between = low + (rank - low) * _GROUPS_BETWEEN // (high - low)
    after = rank - high + low + _GROUPS_BETWEEN
    return np.where(rank < low, rank, np.where(rank >= high, after, between))

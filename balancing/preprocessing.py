"""What a network must know about its inputs, learnt from training rows only.

Nothing here is trained: medians, scales, bin edges and category shares become constants of
the network and so of the exported graph.
"""

from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from balancing.dataset import FloatArray, IntArray, LabelledArrays

Float64Array: TypeAlias = NDArray[np.float64]

UNKNOWN_CODE = 1


class StandardiseConfig(BaseModel):
    """Zero mean, unit deviation, clipped: keeps distances in the tail, where fraud lies."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["standardise"] = "standardise"
    clip: float = Field(default=20.0, gt=0, description="In standard deviations.")


class PiecewiseLinearConfig(BaseModel):
    """Piecewise-linear embeddings over quantile bins (Gorishniy et al., arXiv 2203.05556)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["piecewise_linear"] = "piecewise_linear"
    clip: float = Field(default=20.0, gt=0, description="In standard deviations.")
    n_bins: int = Field(default=16, ge=2, le=256)
    d_embedding: int = Field(default=8, ge=1)


class AutomaticConfig(BaseModel):
    """Piecewise-linear embeddings where positives abound, standardised numbers where not.

    Embeddings rank better on the credit tables, whose training rows hold 900 to 5,000 positives;
    on card fraud with some hundred positives they fit noise, and plain numbers rank better.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["automatic"] = "automatic"
    fewest_positives: int = Field(default=800, ge=0, description="For embeddings to be used.")
    few: StandardiseConfig = StandardiseConfig()
    many: PiecewiseLinearConfig = PiecewiseLinearConfig()


FixedNumericConfig: TypeAlias = StandardiseConfig | PiecewiseLinearConfig
NumericConfig: TypeAlias = Annotated[
    StandardiseConfig | PiecewiseLinearConfig | AutomaticConfig, Field(discriminator="kind")
]


def resolve_numeric(config: NumericConfig, train: LabelledArrays) -> FixedNumericConfig:
    """Return how numbers enter the network, the automatic choice made."""
    if not isinstance(config, AutomaticConfig):
        return config
    return config.many if train.class_counts[1] >= config.fewest_positives else config.few


@dataclass(frozen=True, slots=True)
class NumericStatistics:
    """Constants of the numeric inputs.

    Attributes:
        median: Replaces a missing value. In the column's own unit.
        mean: Of the present values. In the column's own unit.
        deviation: Standard deviation of the present values; 1 for a constant column.
        low: Smallest value let through; ``mean`` for a constant column, which is so ignored.
        high: Largest value let through.
        indicator: Columns with a missing value in training; each gets an input that says so.

    Shape:
        All ``(n_numeric,)`` float64, except ``indicator``: ``(n_indicators,)`` int64 positions.
    """

    median: Float64Array
    mean: Float64Array
    deviation: Float64Array
    low: Float64Array
    high: Float64Array
    indicator: IntArray


def fit_numeric(numeric: FloatArray, *, clip: float) -> NumericStatistics:
    """Learn the constants of the numeric inputs.

    Infinities count as missing here; in the network they are clipped.

    Args:
        numeric: Training rows, ``(n_rows, n_numeric)`` float32, NaN where missing.
        clip: How many standard deviations from the mean are let through.
    """
    columns = [_column_statistics(column, clip) for column in numeric.T]
    table = np.array(columns, dtype=np.float64).reshape(-1, 5)
    median, mean, deviation, low, high = np.ascontiguousarray(table.T)
    indicator = np.flatnonzero(np.isnan(numeric).any(axis=0)).astype(np.int64)
    return NumericStatistics(median, mean, deviation, low, high, indicator)


def _column_statistics(column: FloatArray, clip: float) -> tuple[float, ...]:
    present = column[np.isfinite(column)].astype(np.float64)
    if present.size == 0:
        return 0.0, 0.0, 1.0, 0.0, 0.0
    mean, deviation, median = present.mean(), present.std(), float(np.median(present))
    if present.min() == present.max():
        return median, median, 1.0, median, median
    return median, mean, deviation, mean - clip * deviation, mean + clip * deviation


def standardised(numeric: FloatArray, statistics: NumericStatistics) -> Float64Array:
    """Return the present values on the network's scale; NaN stays NaN."""
    clipped = np.clip(numeric.astype(np.float64), statistics.low, statistics.high)
    return np.asarray((clipped - statistics.mean) / statistics.deviation)


def quantile_edges(values: Float64Array, *, n_bins: int) -> list[Float64Array]:
    """Return each column's bin edges: distinct quantiles, none for a constant column.

    Args:
        values: Training rows on the network's scale, NaN where missing.
        n_bins: At most so many bins a column.
    """
    return [_edges(column[np.isfinite(column)], n_bins) for column in values.T]


def _edges(present: Float64Array, n_bins: int) -> Float64Array:
    if present.size == 0:
        return np.empty(0)
    edges = np.unique(np.quantile(present, np.linspace(0, 1, n_bins + 1)))
    return edges if len(edges) > 1 else np.empty(0)


def category_shares(arrays: LabelledArrays, cardinalities: tuple[int, ...]) -> list[Float64Array]:
    """Return, for each categorical column, the share of training rows with each code.

    Args:
        arrays: Training rows.
        cardinalities: Number of codes a column, the missing and unknown ones included.

    Raises:
        ValueError: If a code lies outside its column's cardinality.
    """
    if arrays.categorical.shape[1] != len(cardinalities):
        raise ValueError(
            "cardinalities must name every categorical column. Got "
            f"{len(cardinalities)} for {arrays.categorical.shape[1]} columns."
        )
    columns = zip(arrays.categorical.T, cardinalities, strict=True)
    return [_shares(codes, cardinality) for codes, cardinality in columns]


def _shares(codes: IntArray, cardinality: int) -> Float64Array:
    if codes.size and not 0 <= codes.min() <= codes.max() < cardinality:
        raise ValueError(
            f"Category codes must be in [0, {cardinality}). Got {codes.min()} to {codes.max()}."
        )
    counts = np.bincount(codes, minlength=max(cardinality, UNKNOWN_CODE + 1))
    return counts / max(1, codes.size)

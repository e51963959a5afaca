"""Whether rows still look as they did: every feature of the model, held against its reference."""

from dataclasses import asdict, dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from balancing.metrics.drift import Drift, adjusted_p_values, categorical_drift, numeric_drift
from balancing.metrics.proportions import p_value_of_rise
from features.vocabulary import FIRST_KNOWN, MISSING, UNKNOWN
from flows.monitoring.feature_sample import FeatureSample


@dataclass(frozen=True, slots=True)
class ColumnDrift:
    """One feature in the window beside its reference.

    Attributes:
        column: The feature.
        kind: ``number`` or ``category``.
        stability_index: Of the values there are; None where either side has too few of them.
        statistic: Kolmogorov-Smirnov distance, or Cramér's V.
        p_value: Adjusted for the number of columns.
        missing: Share of rows without a value.
        reference_missing: Likewise in the reference.
        missing_p_value: Of the rise, adjusted for the number of columns.
        unseen: Share of rows with a category unknown from training; None for numbers.
        reference_unseen: Likewise in the reference.
        unseen_p_value: Of the rise, adjusted likewise.
        edges: Inner edges of the bins; empty for categories.
        shares: Of the window's sampled rows by bin or category.
        reference_shares: Of the reference's.
    """

    column: str
    kind: str
    stability_index: float | None
    statistic: float | None
    p_value: float | None
    missing: float
    reference_missing: float
    missing_p_value: float
    unseen: float | None
    reference_unseen: float | None
    unseen_p_value: float | None
    edges: tuple[float, ...] = ()
    shares: tuple[float, ...] = ()
    reference_shares: tuple[float, ...] = ()


def input_drift(
    window: FeatureSample, reference: FeatureSample, *, min_rows: int
) -> list[ColumnDrift]:
    """Return every feature beside its reference, in the order of the features.

    Values are compared on the samples, shares of missing and unseen values over all rows.

    Args:
        window: The rows looked at.
        reference: Those they are held against, with the same features.
        min_rows: Values that either sample needs.
    """
    n_numeric = window.numeric.shape[1]
    drifts = [
        _drift_of_number(window.numeric[:, at], reference.numeric[:, at], min_rows)
        if at < n_numeric
        else _drift_of_category(
            window.categorical[:, at - n_numeric],
            reference.categorical[:, at - n_numeric],
            min_rows,
        )
        for at in range(len(window.names))
    ]
    p_values = iter(adjusted_p_values([each.p_value for each in drifts if each is not None]))
    missing = adjusted_p_values(
        _rises(window.n_missing, window.n_rows, reference.n_missing, reference.n_rows)
    )
    unseen = adjusted_p_values(
        _rises(window.n_unseen, window.n_rows, reference.n_unseen, reference.n_rows)
    )
    found = []
    for at, (name, drift) in enumerate(zip(window.names, drifts, strict=True)):
        place = at - n_numeric
        is_category = place >= 0
        found.append(
            ColumnDrift(
                column=name,
                kind="category" if is_category else "number",
                stability_index=None if drift is None else drift.stability_index,
                statistic=None if drift is None else drift.statistic,
                p_value=None if drift is None else float(next(p_values)),
                missing=_share(window.n_missing[at], window.n_rows),
                reference_missing=_share(reference.n_missing[at], reference.n_rows),
                missing_p_value=float(missing[at]),
                unseen=_share(window.n_unseen[place], window.n_rows) if is_category else None,
                reference_unseen=_share(reference.n_unseen[place], reference.n_rows)
                if is_category
                else None,
                unseen_p_value=float(unseen[place]) if is_category else None,
                edges=() if drift is None else tuple(drift.edges.tolist()),
                shares=() if drift is None else tuple(drift.current.tolist()),
                reference_shares=() if drift is None else tuple(drift.reference.tolist()),
            )
        )
    return found


def drift_table(columns: list[ColumnDrift]) -> pl.DataFrame:
    """Return the figures of each column as a table, without its bins."""
    schema = {
        name: pl.String if name in ("column", "kind") else pl.Float64
        for name in ColumnDrift.__slots__
        if name not in ("edges", "shares", "reference_shares")
    }
    rows = [{name: asdict(column)[name] for name in schema} for column in columns]
    return pl.DataFrame(rows, schema=schema)


def _drift_of_number(
    window: NDArray[np.float32], reference: NDArray[np.float32], min_rows: int
) -> Drift | None:
    values, before = window[~np.isnan(window)], reference[~np.isnan(reference)]
    if min(len(values), len(before)) < min_rows:
        return None
    return numeric_drift(before, values)


def _drift_of_category(
    window: NDArray[np.int64], reference: NDArray[np.int64], min_rows: int
) -> Drift | None:
    codes, before = window[window != MISSING], reference[reference != MISSING]
    if min(len(codes), len(before)) < min_rows:
        return None
    n_codes = int(max(codes.max(), before.max(), FIRST_KNOWN)) + 1
    counts = [np.bincount(each, minlength=n_codes)[UNKNOWN:] for each in (before, codes)]
    return categorical_drift(*counts)


def _rises(
    n_hits: NDArray[np.int64], n_rows: int, n_before: NDArray[np.int64], n_rows_before: int
) -> list[float]:
    return [
        p_value_of_rise((int(before), n_rows_before), (int(hits), n_rows))
        for hits, before in zip(n_hits, n_before, strict=True)
    ]


def _share(count: np.int64, n_rows: int) -> float:
    return float(count) / n_rows if n_rows else 0.0

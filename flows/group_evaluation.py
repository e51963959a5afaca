"""What a model does to parts of the test rows: groups of people, segments, stretches of time.

Groups stand in the contract under ``columns.groups``: in the table, and never a feature.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from balancing.calibration.policy import Decisions
from balancing.group_figures import group_figures
from balancing.part_figures import Grouped, PartsReport
from features.contract import Contract
from features.feature_table import with_row_id
from flows.kept_rows import segment_columns
from flows.run_folder import RunFolder
from flows.validation import DATA, TEST

MOST_VALUES = 12
"""A number with more values is told in four bands of equal size, a segment not at all."""

MOST_SEGMENTS = 6
_MONTHS_FROM = timedelta(days=62)


@dataclass(frozen=True, slots=True)
class JudgedRows:
    """Test rows with what the policy decided.

    Attributes:
        table: Of the feature table.
        label: 0 or 1.
        decided: By the policy.
        seed: Decides resamples.
    """

    table: pl.DataFrame
    label: NDArray[np.int8]
    decided: Decisions
    seed: int

    def by(self, values: pl.Series, *, compared: bool = False) -> Grouped:
        """Return the figures of a column's groups."""
        return group_figures(
            values.name,
            values.cast(pl.String).to_list(),
            label=self.label,
            risk_score=self.decided.risk_score,
            decision=self.decided.decision,
            compared=compared,
            seed=self.seed,
        )


def evaluate_groups(rows: JudgedRows, contract: Contract, run: RunFolder) -> PartsReport:
    """Return the figures by group, by segment and by stretch of the test period.

    Args:
        rows: Of the test part.
        contract: Names the groups.
        run: Holds the rows as they passed validation: groups are in no feature table.
    """
    values = _group_values(rows.table, contract, run)
    segments = [
        name
        for name in segment_columns(rows.table, contract)
        if 1 < rows.table[name].n_unique() <= MOST_VALUES
    ]
    periods = _periods(rows.table["event_time"])
    columns = values.get_columns()
    return PartsReport(
        groups=tuple(rows.by(banded(column), compared=True) for column in columns),
        segments=tuple(rows.by(rows.table[name]) for name in segments[:MOST_SEGMENTS]),
        periods=None if periods is None else rows.by(periods),
    )


def banded(values: pl.Series) -> pl.Series:
    """Return a group column as text; a number of many values in bands with a quarter each.

    Example:
        >>> banded(pl.Series("AGE", range(20, 60))).unique(maintain_order=True).to_list()
        ['up to 29.75', 'over 29.75 to 39.5', 'over 39.5 to 49.25', 'over 49.25']
    """
    if not values.dtype.is_numeric() or values.drop_nulls().n_unique() <= MOST_VALUES:
        return values.cast(pl.String)
    known = values.cast(pl.Float64)
    quartiles = [known.quantile(share, "linear") for share in (0.25, 0.5, 0.75)]
    ends = sorted({end for end in quartiles if end is not None})
    words = [f"{end:.6g}" for end in ends]
    labels = [f"up to {words[0]}", *_between(words), f"over {words[-1]}"]
    places = np.searchsorted(ends, known.fill_null(ends[0]).to_numpy(), side="left")
    found = pl.Series(values.name, [labels[place] for place in places], dtype=pl.String)
    return found.set(values.is_null(), None)


def _between(words: list[str]) -> list[str]:
    return [f"over {low} to {high}" for low, high in pairwise(words)]


def _group_values(table: pl.DataFrame, contract: Contract, run: RunFolder) -> pl.DataFrame:
    """Return the groups of rows of a feature table, null where nobody can tell."""
    groups = list(contract.columns.groups)
    if not groups:
        return pl.DataFrame()
    role = TEST if run.passed_of(TEST).is_file() else DATA
    known = _source(run.passed_of(role), contract, groups)
    # Of two rows under one id nobody can say which is which.
    known = known.unique("row_id", keep="none")
    joined = table.select("row_id").join(known, on="row_id", how="left", maintain_order="left")
    return joined.drop("row_id")


def _source(passed: Path, contract: Contract, groups: list[str]) -> pl.DataFrame:
    lazy = pl.scan_parquet(passed)
    there = [name for name in groups if name in lazy.collect_schema()]
    own_id = [] if contract.columns.id is None else [contract.columns.id]
    frame = lazy.select(*own_id, *there).collect() if own_id else lazy.collect()
    return with_row_id(frame, contract).select("row_id", *there)


def _periods(event_time: pl.Series) -> pl.Series | None:
    """Return the month of each row, or its week where there are few; None without times."""
    first, last = event_time.min(), event_time.max()
    if not isinstance(first, datetime) or not isinstance(last, datetime):
        return None
    form = "%Y-%m" if last - first > _MONTHS_FROM else "%G-W%V"
    return event_time.dt.strftime(form).alias("month" if form == "%Y-%m" else "week")

"""Rows that a person corrected: they stand in for the rows of the source as read.

Corrected rows that pass are kept in one Parquet file, typed, each under the SHA-256 of its
source and its row number there. The next validation of the same source puts them in the place
of the broken ones, so that they are counted once, in their order, however often it runs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import polars as pl

from features.contract import Contract
from features.ingestion.timestamps import to_utc_or_null
from features.validation.quarantine import KEY, ROW, SOURCE
from features.validation.row_judge import RowJudge, WholeTable, rules_by_row
from features.validation.tally import Tally
from infra.storage import write_atomically


@dataclass(frozen=True, slots=True)
class Corrections:
    """Corrected rows of one source.

    Attributes:
        contract: Resolved against the source.
        rows: The source's columns and ``_row``, sorted by it; typed as ``conform`` types them.
    """

    contract: Contract
    rows: pl.DataFrame

    @property
    def n_rows(self) -> int:
        """How many rows are corrected."""
        return self.rows.height

    def between(self, numbers: pl.Series) -> Self:
        """Return the corrections of a stretch of row numbers."""
        if self.n_rows == 0 or len(numbers) == 0:
            return type(self)(self.contract, self.rows.head(0))
        inside = pl.col(ROW).is_between(numbers[0], numbers[-1])
        return type(self)(self.contract, self.rows.filter(inside))

    def judge_with(
        self,
        judge: RowJudge,
        rows: pl.DataFrame,
        numbers: pl.Series,
        whole: WholeTable,
        tally: Tally,
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Judge a chunk in which some rows are corrected.

        Args:
            judge: Of the source.
            rows: The chunk as read.
            numbers: Its row numbers.
            whole: What follows from all rows, for this chunk.
            tally: Counts failures.

        Returns:
            Every row of the chunk typed, and which positions break which rules.
        """
        at = (self.rows[ROW] - numbers[0]).to_numpy()
        is_read = ~numbers.is_in(self.rows[ROW].implode())
        rest = is_read.arg_true().to_numpy()
        corrected = self.rows.drop(ROW)
        own = RowJudge(self.contract, corrected.schema)
        pieces = []
        for one, part, positions, seen in (
            (judge, rows.filter(is_read), rest, whole.take(rest)),
            (own, corrected, at, self._seen(whole.take(at), corrected)),
        ):
            typed = one.typed(part, seen)
            failing = one.failing(part, typed, seen)
            tally.add(one.rules, failing, part, numbers[positions])
            broken = rules_by_row(one.rules, failing)
            moved = pl.Series(positions, dtype=pl.Int64)[broken["position"]]
            pieces.append(
                (
                    typed.with_columns(pl.Series(ROW, positions, dtype=pl.Int64)),
                    broken.with_columns(moved.alias("position")),
                )
            )
        typed = pl.concat([piece[0] for piece in pieces], how="vertical_relaxed")
        broken = pl.concat([piece[1] for piece in pieces])
        return typed.sort(ROW).drop(ROW), broken.sort("position")

    def _seen(self, whole: WholeTable, corrected: pl.DataFrame) -> WholeTable:
        event_time = self.contract.columns.event_time
        moments = dict(whole.moments)
        if event_time is not None:
            name = event_time.column
            moments[name] = to_utc_or_null(corrected[name], event_time)
        return WholeTable(moments, whole.is_first)


def read_corrections(
    path: Path | None, source_sha256: str, contract: Contract, schema: Mapping[str, pl.DataType]
) -> Corrections:
    """Return the corrections of one source; none where there is no file.

    Args:
        path: Written by :func:`add_corrections`.
        source_sha256: What identifies the source.
        contract: Resolved against the source.
        schema: Columns of the source and their types: columns without a role take them.
    """
    empty = pl.DataFrame(schema={ROW: pl.Int64, **schema})
    if path is None or not path.exists():
        return Corrections(contract, empty)
    kept = pl.scan_parquet(path).filter(pl.col(SOURCE) == source_sha256).sort(ROW).collect()
    typed_here = {*contract.numeric_columns, *contract.request_columns}
    columns = [kept[ROW]]
    for name, dtype in schema.items():
        column = kept[name] if name in kept.columns else pl.Series(name, [None] * kept.height)
        columns.append(column if name in typed_here else _like(column, dtype))
    return Corrections(contract, pl.DataFrame(columns))


def add_corrections(path: Path, rows: pl.DataFrame) -> None:
    """Add rows to the corrections; a row that is among them already is left as it is.

    Args:
        path: Made if it is not there.
        rows: Typed, with ``_row`` and ``_source_sha256``.
    """
    # Columns without a role are kept as text: their type is the source's, which may be wider.
    if path.exists():
        before = pl.read_parquet(path)
        new = rows.join(before.select(KEY), on=KEY, how="anti")
        rows = pl.concat([before, new], how="diagonal_relaxed")
    with write_atomically(path) as staging:
        rows.write_parquet(staging)


def taken_keys(path: Path) -> pl.DataFrame:
    """Return source and row number of every row taken back already."""
    if not path.exists():
        return pl.DataFrame(schema={SOURCE: pl.String, ROW: pl.Int64})
    return pl.read_parquet(path, columns=list(KEY)).select(KEY)


def _like(column: pl.Series, dtype: pl.DataType) -> pl.Series:
    """Return a column in another type; ``"1.0"`` is the integer 1."""
    if dtype.is_integer() and column.dtype == pl.String:
        return column.cast(pl.Float64, strict=False).cast(dtype, strict=False)
    if dtype == pl.Boolean and column.dtype == pl.String:
        return column.str.to_lowercase().replace_strict(
            {"true": True, "1": True, "false": False, "0": False},
            default=None,
            return_dtype=pl.Boolean,
        )
    return column.cast(dtype, strict=False)

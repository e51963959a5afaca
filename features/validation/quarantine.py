"""The quarantine: every failing row as it was read, with the rules it broke.

Beside the columns of the source a quarantine file has ``_row`` (row number in the source,
counted from 0), ``_rules`` (names of the broken rules) and ``_source_sha256``. The first and the
last name a row for ever, so that a corrected row is never counted twice.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from features.ingestion.data_error import DataError
from infra.storage import write_atomically

ROW = "_row"
RULES = "_rules"
SOURCE = "_source_sha256"
BOOKKEEPING = (ROW, RULES, SOURCE)
KEY = (SOURCE, ROW)

_RULES_SEPARATOR = "; "


class ParquetRows:
    """A Parquet file that grows by frames of one schema; memory holds one frame at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: Any = None
        self._schema: pl.Schema | None = None
        self.n_rows = 0

    def append(self, frame: pl.DataFrame) -> None:
        """Write rows behind those written before; the first frame sets the types."""
        import pyarrow.parquet as pq

        if self._schema is None:
            self._schema = frame.schema
            self._writer = pq.ParquetWriter(
                self._path, frame.head(0).to_arrow().schema, compression="zstd"
            )
        if frame.height:
            self._writer.write_table(frame.cast(self._schema).to_arrow())
            self.n_rows += frame.height

    def describe(self, metadata: Mapping[str, str]) -> None:
        """Write what is said of the file into its metadata, once rows have set its types."""
        assert self._writer is not None, "the first frame sets the types, empty or not"
        self._writer.add_key_value_metadata(dict(metadata))

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.close()


@contextmanager
def parquet_rows(path: Path) -> Iterator[ParquetRows]:
    """Yield a growing Parquet file that takes its place when the block ends well."""
    with write_atomically(path) as staging:
        rows = ParquetRows(staging)
        try:
            yield rows
        finally:
            rows.close()


def with_bookkeeping(rows: pl.DataFrame, numbers: pl.Series, rules: pl.Series) -> pl.DataFrame:
    """Return failing rows with their row numbers and the names of the rules they broke."""
    return rows.with_columns(
        numbers.cast(pl.Int64).alias(ROW), rules.cast(pl.List(pl.String)).alias(RULES)
    )


def check_no_bookkeeping(columns: Mapping[str, Any]) -> None:
    """Refuse a quarantine file where a source is expected.

    Raises:
        DataError: If a column has a name of the quarantine's own.
    """
    taken = [name for name in BOOKKEEPING if name in columns]
    if taken:
        raise DataError(
            f"The table has the column {taken[0]!r} of a quarantine file. Take corrected rows "
            "back in with: whitecrow validate FILE --contract C --requeue."
        )


def read_corrected(frame: pl.DataFrame) -> pl.DataFrame:
    """Return corrected rows with their bookkeeping columns typed; ``_rules`` is left out.

    Args:
        frame: A quarantine file, or a CSV made of one, after a person has corrected it.

    Raises:
        DataError: If it is no quarantine file, or a row stands in it twice.
    """
    missing = [name for name in KEY if name not in frame.columns]
    if missing:
        raise DataError(
            f"The corrected rows lack the column {missing[0]!r}, which says where each came from. "
            "Start from the quarantine file and keep its columns."
        )
    keys = frame.with_columns(
        pl.col(ROW).cast(pl.String).cast(pl.Int64, strict=False),
        pl.col(SOURCE).cast(pl.String),
    ).drop(RULES, strict=False)
    _check_keys(keys)
    return keys


def _check_keys(keys: pl.DataFrame) -> None:
    nameless = keys.filter(pl.any_horizontal(pl.col(*KEY).is_null()))
    if nameless.height:
        raise DataError(
            f"{nameless.height} corrected row(s) have no {ROW} or {SOURCE}. "
            "New rows belong in a file of their own, not in the quarantine."
        )
    twice = keys.filter(pl.struct(KEY).is_duplicated())
    if twice.height:
        raise DataError(
            f"Row {twice[ROW][0]} stands {twice.filter(pl.col(ROW) == twice[ROW][0]).height} "
            "times among the corrected rows. Keep one of each."
        )


def write_quarantine_csv(quarantine_path: Path, csv_path: Path) -> int:
    """Write a quarantine file as CSV for a person to correct, and return its number of rows.

    Everything is kept as it was read; the broken rules stand in one column, joined by ``;``.
    """
    rows = pl.read_parquet(quarantine_path)
    flat = rows.with_columns(pl.col(RULES).list.join(_RULES_SEPARATOR))
    with write_atomically(csv_path) as staging:
        flat.write_csv(staging)
    return rows.height

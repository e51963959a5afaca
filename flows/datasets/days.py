"""Rows into the order of time, with no more than one day of event time in memory."""

import sqlite3
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import polars as pl

MOMENT, RECEIVED = "__moment", "__received"
"""When a row happened, and when it came in: Datetime[us, UTC], dropped in the end."""

ROWS_IN_MEMORY = 50_000
"""Before they go to the disk."""

_SEE = "INSERT OR IGNORE INTO seen VALUES (?)"


class DayFiles:
    """Rows on disk by the day that they happened on, until all have come in.

    Args:
        folder: Empty, and for nothing else.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._waiting: list[pl.DataFrame] = []
        self._n_waiting = self._n_parts = 0

    def add(self, rows: pl.DataFrame) -> None:
        """Take rows with ``MOMENT``; every frame has the same columns."""
        self._waiting.append(rows)
        self._n_waiting += rows.height
        if self._n_waiting >= ROWS_IN_MEMORY:
            self._write()

    def in_order(self) -> Iterator[pl.DataFrame]:
        """Yield the rows of one day after another, in the order of time and arrival."""
        self._write()
        files = sorted(self._folder.glob("*.parquet"))
        for _, of_day in groupby(files, key=lambda file: file.name.split("_")[0]):
            rows = pl.concat([pl.read_parquet(file) for file in of_day])
            yield rows.sort(MOMENT, RECEIVED, "decision_id")

    def _write(self) -> None:
        if not self._n_waiting:
            return
        rows = pl.concat(self._waiting)
        self._waiting, self._n_waiting = [], 0
        by_day = rows.with_columns(__day=pl.col(MOMENT).dt.strftime("%Y-%m-%d"))
        for (day,), part in by_day.partition_by("__day", as_dict=True, include_key=False).items():
            self._n_parts += 1
            part.write_parquet(self._folder / f"{day}_{self._n_parts:08d}.parquet")


class SeenIds:
    """The ids that came before, on disk: they may be more than memory holds.

    Args:
        path: A file that is not there yet.
    """

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = OFF")
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.execute("CREATE TABLE seen (id TEXT PRIMARY KEY) WITHOUT ROWID")

    def is_first(self, ids: pl.Series) -> pl.Series:
        """Return which ids came neither before nor earlier in the series; null ones are all new."""
        self._connection.execute("BEGIN")
        is_new = [
            each is None or bool(self._connection.execute(_SEE, (each,)).rowcount) for each in ids
        ]
        self._connection.execute("COMMIT")
        return pl.Series(is_new, dtype=pl.Boolean)

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

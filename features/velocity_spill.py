"""Features over time of tables larger than memory: one entity partition at a time, from disk.

Rows come in chunk by chunk and are parted on disk by a hash of their entity, once for each entity
of the contract. A partition holds every event of its entities, so the same code that works on a
whole table in memory works on it, and no row sees anything else than it would there. Results
are read back chunk by chunk, in the order in which the rows came.

The scratch folder is gone whatever happens; one that a killed process left behind is removed by
the next one that works in the same place.
"""

import fcntl
import logging
import math
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import polars as pl

from features.aggregates import entity_columns
from features.contract import Contract
from features.contract_blocks import Names
from features.labels import LABEL, LABEL_REPORTED_AT
from features.velocity import velocity_plan
from features.velocity_events import TableEvents
from features.velocity_table import add_velocity
from infra.errors import WhitecrowError, is_full_disk

logger = logging.getLogger(__name__)

ROWS_IN_MEMORY = 2_000_000
"""Rows of one partition, about: below one gigabyte of work for the widest of contracts."""

CHUNK_ROWS = 1_000_000
"""Rows of one chunk, where this module cuts a table into chunks."""

_ROW = "__row"
_BUCKET = "__bucket"
_HISTORY = -1
_PREFIX = ".velocity-"
_YOUNG_SECONDS = 60


class ScratchDiskFull(WhitecrowError):
    """Raised when the disk cannot hold the partitions; says what to do."""


@contextmanager
def spilling(
    contract: Contract,
    folder: Path,
    n_rows: int,
    *,
    arrival: str | None = None,
    rows_in_memory: int | None = None,
) -> Iterator["VelocitySpill"]:
    """Yield a spill in a scratch folder of its own, which goes when the block ends.

    Args:
        contract: Resolved; with features over time.
        folder: Where the scratch folder is made.
        n_rows: Rows that will come, history included.
        arrival: Column that says when a row arrived; see ``add_velocity``.
        rows_in_memory: Rows of one partition, about; default: ``ROWS_IN_MEMORY``.

    Raises:
        ScratchDiskFull: If the disk cannot hold the partitions.
    """
    n_buckets = max(1, math.ceil(n_rows / (rows_in_memory or ROWS_IN_MEMORY)))
    with _scratch(folder) as scratch:
        spill = VelocitySpill(contract, scratch, n_rows, n_buckets, arrival)
        try:
            yield spill
        except (OSError, pl.exceptions.PolarsError) as error:
            if not is_full_disk(error):
                raise
            raise ScratchDiskFull(_full_disk(folder, n_rows)) from None


@dataclass
class VelocitySpill:
    """Partitions on disk. Made by :func:`spilling`.

    Attributes:
        contract: Resolved; with features over time.
        folder: Holds the partitions and nothing else.
        n_rows: Rows that will come, history included.
        n_buckets: Partitions of each entity.
        arrival: Column that says when a row arrived, if rows come late.
    """

    contract: Contract
    folder: Path
    n_rows: int
    n_buckets: int
    arrival: str | None = None
    _starts: list[int] = field(default_factory=lambda: [0])
    _n_parts: int = 0

    def add(self, chunk: pl.DataFrame, *, is_history: bool = False) -> None:
        """Take in the next rows; history comes first, and gets no features.

        Args:
            chunk: Conformed rows, with ``label`` where the contract has label rates.
            is_history: Whether these rows are only the past of others.

        Raises:
            DataError: If a column is missing that a feature reads.
            ScratchDiskFull: If the first rows show that all of them will not fit.
        """
        if is_history:
            assert len(self._starts) == 1, "history comes first"
        first = self._starts[-1]
        numbers = pl.lit(_HISTORY, pl.Int64) if is_history else pl.int_range(pl.len()) + first
        checked = TableEvents.of(chunk, self.contract).frame
        rows = checked.with_columns(numbers.cast(pl.Int64).alias(_ROW))
        for entity in velocity_plan(self.contract).entities:
            self._part(rows, entity)
        if not self._n_parts:
            self._check_space(chunk.height)
        self._n_parts += 1
        if not is_history:
            self._starts.append(first + chunk.height)

    def features(self) -> Iterator[pl.DataFrame]:
        """Yield the features over time of each chunk, in the order of the chunks."""
        plan = velocity_plan(self.contract)
        for entity in plan.entities:
            for bucket in range(self.n_buckets):
                self._compute(entity, bucket)
        for chunk in range(len(self._starts) - 1):
            made = [self._read(entity, chunk) for entity in plan.entities]
            yield pl.concat(made, how="horizontal").select(plan.names)

    def _part(self, rows: pl.DataFrame, entity: Names) -> None:
        """Append rows to the partitions of their entities."""
        names = self._columns(entity, rows.columns)
        bucket = (pl.struct(entity).hash() % self.n_buckets).alias(_BUCKET)
        parts = rows.select(*names, bucket).partition_by(_BUCKET, as_dict=True, include_key=False)
        for (at,), part in parts.items():
            folder = self._folder("rows", entity, int(at))
            part.write_ipc(folder / f"{self._n_parts:08}.arrow", compression="lz4")

    def _columns(self, entity: Names, present: list[str]) -> list[str]:
        plan = velocity_plan(_about(self.contract, entity))
        labels = (LABEL, LABEL_REPORTED_AT) if plan.label_features else ()
        arrival = (self.arrival,) if self.arrival is not None else ()
        wanted = dict.fromkeys((*plan.source_columns, *labels, *arrival, _ROW))
        return [name for name in wanted if name in present]

    def _compute(self, entity: Names, bucket: int) -> None:
        """Compute one partition, and write its results cut where the chunks were cut."""
        folder = self._folder("rows", entity, bucket)
        if not any(folder.iterdir()):
            return
        contract = _about(self.contract, entity)
        rows = pl.read_ipc(folder / "*.arrow")
        shutil.rmtree(folder)
        past, rows = rows.filter(pl.col(_ROW) < 0), rows.filter(pl.col(_ROW) >= 0)
        made = add_velocity(
            rows, contract, history=past if past.height else None, arrival=self.arrival
        ).select(_ROW, *velocity_plan(contract).names)
        at = made[_ROW].search_sorted(pl.Series(self._starts)).to_list()
        for chunk, (start, stop) in enumerate(pairwise(at)):
            if stop > start:
                out = self._folder("features", entity, chunk) / f"{bucket:08}.arrow"
                made.slice(start, stop - start).write_ipc(out, compression="lz4")

    def _read(self, entity: Names, chunk: int) -> pl.DataFrame:
        folder = self._folder("features", entity, chunk)
        if not any(folder.iterdir()):
            names = velocity_plan(_about(self.contract, entity)).names
            return pl.DataFrame(schema=dict.fromkeys(names, pl.Float64))
        made = pl.read_ipc(folder / "*.arrow").sort(_ROW)
        shutil.rmtree(folder)
        assert made.height == self._starts[chunk + 1] - self._starts[chunk]
        return made.drop(_ROW)

    def _folder(self, kind: str, entity: Names, number: int) -> Path:
        at = velocity_plan(self.contract).entities.index(entity)
        folder = self.folder / kind / f"{at:02}" / f"{number:08}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _check_space(self, n_first: int) -> None:
        """Stop after the first rows if all of them will not fit: better now than in an hour."""
        if not n_first:
            return
        written = sum(file.stat().st_size for file in self.folder.rglob("*.arrow"))
        free = shutil.disk_usage(self.folder).free + written
        if written * self.n_rows / n_first > free:
            raise ScratchDiskFull(_full_disk(self.folder.parent, self.n_rows))


def _about(contract: Contract, entity: Names) -> Contract:
    """Return the contract with the features over time of one entity only."""
    velocity = tuple(b for b in contract.velocity if entity_columns(b.entity) == entity)
    rates = tuple(b for b in contract.label_rate if entity_columns(b.entity) == entity)
    return contract.model_copy(update={"velocity": velocity, "label_rate": rates})


def _full_disk(folder: Path, n_rows: int) -> str:
    return (
        f"The disk of {folder} is full: features over time of {n_rows:,} rows are computed there, "
        "part by part. Free space, or put the state folder (WHITECROW_HOME) on a larger disk."
    )


@contextmanager
def _scratch(parent: Path) -> Iterator[Path]:
    """Yield a new folder that is removed at the end; what killed processes left goes too."""
    parent.mkdir(parents=True, exist_ok=True)
    _sweep(parent)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    lock = _locked(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _locked(folder: Path) -> int:
    """Lock a folder for as long as this process lives, and return the descriptor."""
    descriptor = os.open(folder, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return descriptor


def _sweep(parent: Path) -> None:
    """Remove the folders of processes that are gone: nobody holds their lock."""
    for folder in parent.glob(f"{_PREFIX}*"):
        try:
            # A folder that young may not have its lock yet.
            if time.time() - folder.stat().st_mtime < _YOUNG_SECONDS:
                continue
            lock = _locked(folder)
        except OSError:
            continue
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)
        logger.info("scratch folder of a killed run removed", extra={"folder": folder.name})

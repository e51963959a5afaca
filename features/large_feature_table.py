"""The feature table of a file larger than memory: the same table, made chunk by chunk.

Labels and parts need every row but few columns: those are read whole, and pass through the same
functions as a table in memory. All other columns are read twice, a chunk at a time: once into the
partitions of :mod:`features.velocity_spill`, once more to be written with their features.
"""

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from itertools import repeat
from pathlib import Path

import polars as pl
from polars.io.plugins import register_io_source

from features.contract import Contract
from features.derived import derive
from features.feature_set import FeatureSet
from features.feature_table import (
    SEPARATE_TEST,
    count_rows,
    parts_of,
    stands_in_table,
    table_columns,
    with_reserved_columns,
)
from features.ingestion.conforming import conform
from features.labels import LABEL, LABEL_REPORTED_AT, LabelledFrame, attach_labels
from features.splits import TRAIN
from features.velocity import velocity_plan
from features.velocity_spill import CHUNK_ROWS, spilling
from features.velocity_table import check_history

_MOST_VALUES_IN_MEMORY = 200_000_000
"""Values of a feature table and its source: about five gigabytes while it is made in memory."""


@dataclass(frozen=True, slots=True)
class LargeFeatureTable:
    """A feature table on disk.

    Attributes:
        path: Parquet with the columns of :class:`features.feature_table.FeatureTable`.
        feature_set: Fitted on the train part.
        counts: As of ``FeatureTable``.
    """

    path: Path
    feature_set: FeatureSet
    counts: dict[str, int]


def is_large(passed: Path, contract: Contract, test_passed: Path | None = None) -> bool:
    """Return whether the feature table of these files is better made chunk by chunk."""
    n_rows = sum(_n_rows(path) for path in (passed, test_passed) if path is not None)
    n_columns = len(contract.source_columns) + len(table_columns(contract))
    return n_rows * n_columns > _MOST_VALUES_IN_MEMORY


def write_large_feature_table(
    passed: Path,
    contract: Contract,
    out: Path,
    *,
    scratch: Path,
    input_types: Mapping[str, str],
    as_of: datetime | None = None,
    since: datetime | None = None,
    labels: pl.DataFrame | None = None,
    test_passed: Path | None = None,
    is_served: bool = False,
) -> LargeFeatureTable:
    """Write what :func:`features.feature_table.build_feature_table` makes of these files.

    Args:
        passed: Parquet of validated rows.
        contract: Resolved against the table.
        out: Parquet file to write.
        scratch: Where partitions lie meanwhile; nothing stays there.
        input_types: As for ``build_feature_table``.
        as_of: As for ``build_feature_table``.
        since: As for ``build_feature_table``.
        labels: As for ``build_feature_table``.
        test_passed: Parquet of the validated rows of a separate test file.
        is_served: As for ``build_feature_table``.

    Raises:
        LabelError: If the label is not two known classes.
        SplitError: If a part would have too few positives.
        WindowLongerThanHistory: If the rows span less time than a window of the contract.
        ScratchDiskFull: If the disk cannot hold the partitions.
    """
    source = _Source(contract, passed, test_passed)
    labelled = attach_labels(source.narrow(), contract, as_of=as_of, labels=labels)
    if not is_served:
        check_history(labelled.frame, contract)
    is_kept = stands_in_table(contract, since)
    known = source.with_event_time(labelled.frame.filter(is_kept))
    parts = parts_of(known, contract, has_separate_test=test_passed is not None)
    counts = count_rows(known.with_columns(parts), labelled, contract, since)
    told = _Told.of(labelled, parts, is_kept)
    del labelled, known, parts
    is_computed = bool(velocity_plan(contract)) and not is_served
    spill = spilling(contract, scratch, told.frame.height) if is_computed else None
    with spill or nullcontext() as velocity:
        if velocity is not None:
            for chunk in source.chunks(told):
                velocity.add(chunk)
        over_time = velocity.features() if velocity is not None else repeat(pl.DataFrame())
        rows = _table_rows(source.chunks(told), over_time, contract, is_kept)
        _scan(rows, contract).sink_parquet(out)
    train = pl.scan_parquet(out).filter(pl.col("part") == TRAIN)
    categories = train.select(contract.categorical_features).collect()
    feature_set = FeatureSet.fit(contract, categories, input_types=input_types)
    return LargeFeatureTable(out, feature_set, counts)


@dataclass(frozen=True, slots=True)
class _Told:
    """What is known of every row before its features are: label, its report, part."""

    frame: pl.DataFrame

    @classmethod
    def of(cls, labelled: LabelledFrame, parts: pl.Series, is_kept: pl.Expr) -> "_Told":
        names = [name for name in (LABEL, LABEL_REPORTED_AT) if name in labelled.frame.columns]
        frame = labelled.frame.select(names)
        at = labelled.frame.select(pl.arg_where(is_kept)).to_series()
        kind = pl.Enum(["train", "validation", "calibration", "test"])
        spread = pl.Series("part", [None], dtype=kind).new_from_index(0, frame.height)
        return cls(frame.with_columns(spread.scatter(at, parts.cast(kind))))


@dataclass(frozen=True, slots=True)
class _Source:
    """The files that rows come from, and their rows in order."""

    contract: Contract
    passed: Path
    test_passed: Path | None

    def narrow(self) -> pl.DataFrame:
        """Return every row with the few columns that labels and parts are made of."""
        contract = self.contract
        label = (contract.label.column, contract.label.reported_at, contract.label.key)
        wanted = (contract.event_time_column, *label, contract.split.column)
        names = dict.fromkeys(name for name in wanted if name is not None)
        frames = []
        for path, is_test in self._files():
            lazy = pl.scan_parquet(path)
            present = [name for name in names if name in lazy.collect_schema()]
            is_separate = pl.lit(is_test).alias(SEPARATE_TEST)
            frames.append(lazy.select(*present, is_separate).collect())
        return pl.concat(frames, how="vertical_relaxed")

    def with_event_time(self, frame: pl.DataFrame) -> pl.DataFrame:
        time = self.contract.event_time_column
        moment = pl.col(time) if time else pl.lit(None)
        return frame.with_columns(event_time=moment.cast(pl.Datetime("us", "UTC")))

    def chunks(self, told: _Told) -> Iterator[pl.DataFrame]:
        """Yield conformed rows with ``row_id``, and what is told of them."""
        start = 0
        for path, _ in self._files():
            for offset in range(0, _n_rows(path), CHUNK_ROWS):
                read = pl.scan_parquet(path).slice(offset, CHUNK_ROWS).collect()
                rows = conform(read, self.contract)
                of_rows = told.frame.slice(start, rows.height)
                yield rows.with_columns(self._row_id(offset), *of_rows.get_columns())
                start += rows.height

    def _row_id(self, offset: int) -> pl.Expr:
        name = self.contract.columns.id
        number = pl.int_range(offset, offset + pl.len()) if name is None else pl.col(name)
        return number.cast(pl.String).alias("row_id")

    def _files(self) -> list[tuple[Path, bool]]:
        test = [] if self.test_passed is None else [(self.test_passed, True)]
        return [(self.passed, False), *test]


def _table_rows(
    chunks: Iterator[pl.DataFrame],
    over_time: Iterator[pl.DataFrame],
    contract: Contract,
    is_kept: pl.Expr,
) -> Iterator[pl.DataFrame]:
    """Yield the rows of the feature table."""
    schema = _schema(contract)
    for chunk, features in zip(chunks, over_time, strict=False):
        rows = chunk.with_columns(features.get_columns()).filter(is_kept)
        table = with_reserved_columns(derive(rows, contract), contract)
        yield table.select(pl.col(name).cast(dtype) for name, dtype in schema.items())


def _schema(contract: Contract) -> pl.Schema:
    types: dict[str, pl.DataType] = dict.fromkeys(table_columns(contract), pl.Float64())
    text = ("row_id", *contract.categorical_features, "part")
    types |= dict.fromkeys(text, pl.String())
    types["event_time"] = pl.Datetime("us", "UTC")
    types |= {"amount_minor": pl.Int64(), LABEL: pl.Int8()}
    return pl.Schema(types)


def _scan(rows: Iterator[pl.DataFrame], contract: Contract) -> pl.LazyFrame:
    """Return a lazy frame that makes its rows when it is written, once."""

    def batches(
        with_columns: list[str] | None,
        predicate: pl.Expr | None,
        n_rows: int | None,
        _batch_size: int | None,
    ) -> Iterator[pl.DataFrame]:
        assert with_columns is None
        assert predicate is None
        assert n_rows is None
        yield from rows

    return register_io_source(batches, schema=_schema(contract))


def _n_rows(path: Path) -> int:
    return int(pl.scan_parquet(path).select(pl.len()).collect().item())

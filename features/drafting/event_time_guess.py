"""Which column says when a row happened, and how its moments are written."""

import polars as pl

from features.contract_blocks import EventTime
from features.drafting.column_names import LATER_WORDS, MOMENT_WORDS, name_parts
from features.ingestion.data_error import DataError
from features.ingestion.timestamps import to_utc

_FORMATS = (
    "%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M", "%Y/%m/%d", "%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M",
    "%d.%m.%Y", "%m/%d/%Y %H:%M:%S", "%m/%d/%Y %H:%M", "%m/%d/%Y", "%d/%m/%Y %H:%M:%S",
    "%d/%m/%Y %H:%M", "%d/%m/%Y", "%d-%m-%Y", "%b-%Y", "%Y-%m", "%d-%b-%Y", "%Y%m%d",
)  # fmt: skip
_EPOCHS = (("ns", 1e17), ("us", 1e14), ("ms", 1e11), ("s", 1e8))
_COUNTER_WORDS = {"time", "timestamp", "datetime", "ts", "unix", "epoch"}


def guess_event_time(column: pl.Series) -> EventTime | None:
    """Return how a column's moments are written, or None where it holds no moments."""
    declared = EventTime(column=column.name)
    if column.dtype.is_temporal() and column.dtype not in (pl.Time, pl.Duration):
        return declared
    if column.dtype.is_numeric():
        return _counted_since(column)
    if column.dtype != pl.String or column.null_count() == len(column):
        return None
    candidates = [declared, *(EventTime(column=column.name, format=f) for f in _FORMATS)]
    head = column.drop_nulls().head(1_000)
    return next((c for c in candidates if _reads(head, c) and _reads(column, c)), None)


def likeliest_event_time(frame: pl.DataFrame) -> str | None:
    """Return the likeliest event time: a moment in every row, and not one from later on."""
    found = []
    for column in frame:
        parts = name_parts(column.name)
        if column.null_count() or parts & LATER_WORDS or not _may_be_moment(column, parts):
            continue
        if guess_event_time(column) is not None:
            found.append((not parts & MOMENT_WORDS, -column.n_unique(), column.name))
    return min(found)[2] if found else None


def _may_be_moment(column: pl.Series, parts: set[str]) -> bool:
    if column.dtype.is_numeric():
        # A number is a moment only if it says so and counts from 1970.
        largest = column.cast(pl.Float64).max()
        is_epoch = isinstance(largest, float) and largest >= _EPOCHS[-1][1]
        return bool(parts & _COUNTER_WORDS) and is_epoch
    return True


def _counted_since(column: pl.Series) -> EventTime | None:
    """Return the unit of a number that counts from 1970, or seconds where it does not."""
    largest = column.cast(pl.Float64).max()
    if not isinstance(largest, float):
        return None
    unit = next((name for name, least in _EPOCHS if largest >= least), "s")
    return EventTime.model_validate(
        {"column": column.name, "unit": unit, "origin": "1970-01-01T00:00:00Z"}
    )


def _reads(column: pl.Series, event_time: EventTime) -> bool:
    try:
        to_utc(column, event_time)
    except DataError:
        return False
    return True

"""Moments in UTC from whatever a table holds: timestamps, dates, numbers, text.

A moment without an offset is local time in the contract's ``time_zone``. In the hour that a
clock shows twice the earlier of the two moments is taken (as Python's ``fold=0`` does, and so
the service); an hour that the clock never showed is refused, because then the time zone is
most likely not the one in which the table was written.
"""

import logging
from typing import Final

import polars as pl

from features.contract_blocks import EventTime
from features.ingestion.data_error import DataError
from features.ingestion.typed_text import without_missing

logger = logging.getLogger(__name__)

MOMENT: Final = pl.Datetime("us", "UTC")
"""The type of every moment inside whitecrow."""

_NANOSECONDS = {
    "ns": 1,
    "us": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "min": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
}
_LAST_MICROSECOND = 253_402_300_799_999_999  # the end of the year 9999
_FIRST_MICROSECOND = -62_135_596_800_000_000  # the start of the year 1
_ISO = (
    r"^(?<date>\d{4}-\d{2}-\d{2})"
    r"(?:[T ](?<minute>\d{2}:\d{2})(?::(?<second>\d{2}(?:[.,]\d{1,9})?))?"
    r" ?(?<offset>[Zz]|[+-]\d{2}(?::?\d{2})?)?)?$"
)


def to_utc(column: pl.Series, event_time: EventTime) -> pl.Series:
    """Return a column's moments; a missing value stays missing.

    Args:
        column: Timestamps, dates, numbers (with ``unit`` and ``origin``) or text.
        event_time: How the contract declares the column.

    Shape:
        ``(n_rows,)`` -> ``(n_rows,)``, Datetime[us, UTC].

    Raises:
        DataError: If a value is no moment; names the first one and its row, counted from 1.
    """
    if isinstance(column.dtype, pl.Datetime):
        moments = column.dt.cast_time_unit("us")
        if column.dtype.time_zone is not None:
            return moments.dt.convert_time_zone("UTC")
        return _localised(moments, event_time.time_zone)
    if column.dtype == pl.Date:
        return _localised(column.cast(pl.Datetime("us")), event_time.time_zone)
    if column.dtype.is_numeric():
        return _from_numbers(column, event_time)
    if column.dtype == pl.String:
        return _from_text(without_missing(column.str.strip_chars()), event_time)
    if column.dtype == pl.Null:
        return column.cast(MOMENT)
    raise DataError(f"Column {column.name!r} holds no moments but {column.dtype}.")


def to_utc_or_null(column: pl.Series, event_time: EventTime) -> pl.Series:
    """Return a column's moments, and null for every value that :func:`to_utc` would refuse.

    Raises:
        DataError: If the declared format is no date format: then no value can be judged.
    """
    try:
        return to_utc(column, event_time)
    except DataError:
        return to_utc(column.set(~_is_moment(column, event_time), None), event_time)


def count_from_origin(moments: pl.Series, event_time: EventTime) -> pl.Series:
    """Return moments as the numbers that they are written as; what is missing stays missing.

    Args:
        moments: Datetime[us, UTC].
        event_time: With a unit and an origin.

    Shape:
        ``(n_rows,)`` -> ``(n_rows,)``, Float64.
    """
    assert event_time.unit is not None, "only counted times are numbers"
    elapsed = moments.to_physical() - _zero(event_time)
    return elapsed.cast(pl.Float64) * 1_000 / _NANOSECONDS[event_time.unit]


def _is_moment(column: pl.Series, event_time: EventTime) -> pl.Series:
    """Return which values are moments; never null."""
    nowhere = pl.repeat(value=False, n=len(column), eager=True)
    if column.dtype == pl.String:
        return _is_moment_in_text(without_missing(column.str.strip_chars()), event_time)
    if column.dtype.is_numeric():
        return _is_in_range(column, event_time) if event_time.unit is not None else nowhere
    if isinstance(column.dtype, pl.Datetime):
        return _is_shown(column.dt.cast_time_unit("us"), event_time.time_zone)
    if column.dtype == pl.Date:
        return _is_shown(column.cast(pl.Datetime("us")), event_time.time_zone)
    return nowhere


def _is_moment_in_text(column: pl.Series, event_time: EventTime) -> pl.Series:
    if event_time.unit is not None:
        return _is_in_range(column.cast(pl.Float64, strict=False), event_time)
    local, offset = _iso_parts(column)
    if event_time.format is not None:
        local, offset = _with_format(column, event_time.format, local, offset)
    if bool(offset.filter(local.is_not_null()).is_not_null().first()):
        return local.is_not_null() & offset.is_not_null()
    return _is_shown(local, event_time.time_zone) & offset.is_null()


def _from_numbers(column: pl.Series, event_time: EventTime) -> pl.Series:
    if event_time.unit is None:
        raise DataError(
            f"Column {column.name!r} holds numbers, not moments. Say what they count: "
            f'event_time = {{column="{column.name}", unit="s", origin="1970-01-01T00:00:00Z"}}.'
        )
    counted = _microseconds(column, _NANOSECONDS[event_time.unit])
    inside = _is_in_range(column, event_time)
    _refuse(column, counted.is_not_null() & ~inside, "is out of range")
    moments: pl.Series = counted.cast(pl.Int64) + _zero(event_time)
    return moments.cast(MOMENT).alias(column.name)


def _is_in_range(column: pl.Series, event_time: EventTime) -> pl.Series:
    """Return which numbers count to a moment in the years 1 to 9999; never null."""
    assert event_time.unit is not None
    zero = _zero(event_time)
    counted = _microseconds(column, _NANOSECONDS[event_time.unit])
    inside = counted.is_between(_FIRST_MICROSECOND - zero, _LAST_MICROSECOND - zero)
    return inside.fill_null(value=False)


def _zero(event_time: EventTime) -> int:
    """Return the moment that is counted from, in microseconds since 1970-01-01 UTC."""
    zero: int = pl.Series([event_time.origin_utc]).cast(MOMENT).to_physical().item()
    return zero


def _is_shown(local: pl.Series, time_zone: str) -> pl.Series:
    """Return which local times a clock in the time zone has shown; never null."""
    zoned = local.dt.replace_time_zone(time_zone, ambiguous="earliest", non_existent="null")
    return zoned.is_not_null()


def _microseconds(column: pl.Series, nanoseconds: int) -> pl.Series:
    """Return microseconds as Float64: exact for 285 years, then rounded to a few of them."""
    numbers = column.cast(pl.Float64).fill_nan(None)
    if nanoseconds < 1_000:
        return (numbers / (1_000 / nanoseconds)).round(0, mode="half_to_even")
    return (numbers * (nanoseconds // 1_000)).round(0, mode="half_to_even")


def _from_text(column: pl.Series, event_time: EventTime) -> pl.Series:
    if event_time.unit is not None:
        numbers = column.cast(pl.Float64, strict=False)
        if numbers.null_count() == column.null_count():
            return _from_numbers(numbers, event_time)
    local, offset = _iso_parts(column)
    if event_time.format is not None:
        local, offset = _with_format(column, event_time.format, local, offset)
    wanted = f"in format {event_time.format!r}" if event_time.format else "an ISO 8601 time"
    _refuse(column, column.is_not_null() & local.is_null(), f"is not {wanted}")
    _refuse_mixed(column, offset)
    if offset.null_count() < len(offset):
        return (local - offset).dt.replace_time_zone("UTC").alias(column.name)
    return _localised(local.alias(column.name), event_time.time_zone)


def _iso_parts(column: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Return local times and offsets from UTC; an offset is null where none is written."""
    parts = column.str.extract_groups(_ISO).struct.unnest()
    second = parts["second"].fill_null("00").str.replace(",", ".", literal=True)
    text = parts["date"] + "T" + parts["minute"].fill_null("00:00") + ":" + second
    local = text.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", time_unit="us", strict=False)
    return local, _offsets(parts["offset"])


def _offsets(text: pl.Series) -> pl.Series:
    digits = text.str.replace("^[Zz]$", "+00").str.replace(":", "", literal=True)
    digits = digits.str.pad_end(5, "0")
    minutes = digits.str.slice(1, 2).cast(pl.Int64) * 60 + digits.str.slice(3, 2).cast(pl.Int64)
    signed = minutes * digits.str.starts_with("-").cast(pl.Int64).replace({0: 1, 1: -1})
    return (signed * 60_000_000).cast(pl.Duration("us"))


def _with_format(
    column: pl.Series, declared: str, iso: pl.Series, iso_offset: pl.Series
) -> tuple[pl.Series, pl.Series]:
    """Read the declared format first; ISO 8601 is understood beside it, as in the service."""
    # Python's %f is a fraction of a second, which Polars writes with its point in front.
    pattern = declared.replace(".%f", "%.f")
    has_offset = "%z" in declared
    zone = "UTC" if has_offset else None
    try:
        parsed = column.str.to_datetime(pattern, time_unit="us", strict=False, time_zone=zone)
    except pl.exceptions.PolarsError:
        raise DataError(
            f"Column {column.name!r}: format {declared!r} is not a date format, "
            "or has an hour without minutes. Example: '%Y-%m-%d %H:%M:%S'."
        ) from None
    zero = pl.Series([0]).cast(pl.Duration("us")) if has_offset else iso_offset.clear(1)
    offset = zero.new_from_index(0, len(parsed)).set(parsed.is_null(), None)
    local = parsed.dt.replace_time_zone(None)
    use_iso = local.is_null()
    return local.zip_with(~use_iso, iso), offset.zip_with(~use_iso, iso_offset)


def _refuse_mixed(column: pl.Series, offset: pl.Series) -> None:
    present = column.is_not_null()
    has_offset = offset.is_not_null()
    mixed = (present & has_offset).any() and (present & ~has_offset).any()
    if not mixed:
        return
    first_has = bool(has_offset.filter(present).first())
    kind = (
        "has no offset from UTC, earlier rows have one"
        if first_has
        else ("has an offset from UTC, earlier rows have none")
    )
    _refuse(column, present & (has_offset != first_has), f"{kind}: write them all in one way")


def _localised(local: pl.Series, time_zone: str) -> pl.Series:
    if time_zone == "UTC":
        return local.dt.replace_time_zone("UTC")
    zoned = local.dt.replace_time_zone(time_zone, ambiguous="earliest", non_existent="null")
    _refuse(
        local,
        zoned.is_null() & local.is_not_null(),
        f"was never shown by a clock in {time_zone} (clocks went forward); check time_zone",
    )
    later = local.dt.replace_time_zone(time_zone, ambiguous="latest", non_existent="null")
    n_ambiguous = int((zoned != later).sum())
    if n_ambiguous:
        logger.warning(
            "ambiguous local times read as the earlier moment",
            extra={"column": local.name, "rows": n_ambiguous, "time_zone": time_zone},
        )
    return zoned.dt.convert_time_zone("UTC")


def _refuse(column: pl.Series, is_bad: pl.Series, problem: str) -> None:
    """Raise for the first bad value, if there is one."""
    first = is_bad.arg_max() if is_bad.any() else None
    if first is None:
        return
    n_bad = int(is_bad.sum())
    more = f" ({n_bad} such rows)" if n_bad > 1 else ""
    raise DataError(
        f"Column {column.name!r}, row {first + 1}: {str(column[first])!r} {problem}{more}."
    )

"""Raw columns read as what the contract says they are, without ever failing.

A value that cannot be read becomes null *and* is reported as lost, so that validation can send
its row to quarantine. A value that is missing (null, NaN, blank text where a number or a time
belongs) is not lost: it was never there. The event time is not read here but by
:mod:`features.ingestion.timestamps`, for one row's time may depend on how the others are written.
"""

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from features.ingestion.typed_text import MISSING


@dataclass(frozen=True, slots=True)
class Reading:
    """One column as expressions over the raw table.

    Attributes:
        value: What was read; null where nothing was there or nothing could be read.
        missing: Whether nothing was there.
        lost: Whether something was there that could not be read; None where that cannot happen.
    """

    value: pl.Expr
    missing: pl.Expr
    lost: pl.Expr | None


def read_number(name: str, dtype: pl.DataType) -> Reading:
    """Return a column as Float64; ``1e+05`` and ``" 12"`` are numbers, NaN is missing."""
    column = pl.col(name)
    if dtype.is_numeric() or dtype == pl.Boolean:
        value = column.cast(pl.Float64, strict=False).fill_nan(None)
        return Reading(value=value, missing=value.is_null(), lost=None)
    if _is_text(dtype):
        text = _stripped(column)
        parsed = text.cast(pl.Float64, strict=False)
        missing = text.is_null() | parsed.is_nan().fill_null(value=False)
        return _lossy(parsed.fill_nan(None), missing)
    return _unreadable(column, dtype, pl.Float64())


def read_integer(name: str, dtype: pl.DataType) -> Reading:
    """Return a column as Float64 that holds whole numbers only."""
    number = read_number(name, dtype)
    if dtype.is_integer():
        return number
    # Infinity is no whole number but is refused by its own rule.
    is_whole = (number.value == number.value.floor()) | number.value.is_infinite()
    return _lossy(pl.when(is_whole).then(number.value), number.missing)


def read_boolean(name: str, dtype: pl.DataType) -> Reading:
    """Return a column as Boolean; ``true``, ``false``, 1 and 0 are truth values."""
    column = pl.col(name)
    if dtype == pl.Boolean:
        return Reading(value=column, missing=column.is_null(), lost=None)
    number = read_number(name, dtype)
    is_true, is_false = number.value == 1, number.value == 0
    if _is_text(dtype):
        text = _stripped(column).str.to_lowercase()
        is_true, is_false = is_true | (text == "true"), is_false | (text == "false")
    # A null comparison is neither: then() is skipped, and the value stays null.
    known = pl.when(is_true).then(pl.lit(value=True)).when(is_false).then(pl.lit(value=False))
    return _lossy(known, number.missing)


def read_text(name: str, dtype: pl.DataType) -> Reading:
    """Return a column as String; everything but a nested value has a text."""
    column = pl.col(name)
    if dtype.is_nested():
        return _unreadable(column, dtype, pl.String())
    raw = column.fill_nan(None) if dtype.is_float() else column
    return Reading(value=raw.cast(pl.String, strict=False), missing=raw.is_null(), lost=None)


def _stripped(column: pl.Expr) -> pl.Expr:
    text = column.cast(pl.String).str.strip_chars()
    return pl.when(~text.is_in(MISSING)).then(text)


def _lossy(value: pl.Expr, missing: pl.Expr) -> Reading:
    return Reading(value=value, missing=missing, lost=value.is_null() & ~missing)


def _unreadable(column: pl.Expr, dtype: pl.DataType, target: pl.DataType) -> Reading:
    if dtype == pl.Null:
        return Reading(value=column.cast(target), missing=column.is_null(), lost=None)
    # As long as the column: a bare literal would be one row.
    nothing = pl.when(column.is_null()).then(pl.lit(None, dtype=target))
    return Reading(value=nothing, missing=column.is_null(), lost=column.is_not_null())


def _is_text(dtype: pl.DataType) -> bool:
    return dtype in (pl.String, pl.Categorical, pl.Enum)


Reader = Callable[[str, pl.DataType], Reading]
READERS: dict[str, Reader] = {
    "number": read_number,
    "integer": read_integer,
    "boolean": read_boolean,
    "text": read_text,
}

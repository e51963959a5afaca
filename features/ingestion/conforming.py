"""A table's columns in the types that its contract gives them."""

from collections.abc import Iterable

import polars as pl

from features.contract import Contract
from features.ingestion.data_error import DataError
from features.ingestion.timestamps import to_utc
from features.ingestion.typed_text import without_missing


def conform(frame: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    """Return ``frame`` typed by the contract; columns without a role are left as they are.

    Numbers and the amount become Float64 (whatever is missing becomes null, infinities stay
    for validation), categories, the id and entities become String, the event time becomes
    Datetime[us, UTC] under its own name. The label and the groups are left untouched.
    Optional columns that the table lacks are added as nulls. Conforming twice changes nothing.

    Args:
        frame: A table as read.
        contract: Resolved against the table (:meth:`Contract.resolve`).

    Raises:
        DataError: If a required column is missing, or a value does not fit its type; names the
            column, the first such value and its row, counted from 1.
    """
    _check_present(frame, contract)
    frame = _with_optional(frame, contract)
    texts = (contract.columns.id, *contract.columns.entities, *contract.categorical_features)
    converted = [
        *(_number(frame[name], contract) for name in contract.numeric_columns),
        *(as_text(frame[name]) for name in _unique(name for name in texts if name is not None)),
    ]
    event_time = contract.columns.event_time
    if event_time is not None:
        converted.append(to_utc(frame[event_time.column], event_time))
    return frame.with_columns(converted)


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _check_present(frame: pl.DataFrame, contract: Contract) -> None:
    missing = [name for name in contract.required_columns if name not in frame.columns]
    if missing:
        raise DataError(
            f"The table lacks {len(missing)} column(s) that contract {contract.name!r} requires: "
            f"{', '.join(map(repr, missing[:5]))}. Add them, or name them in columns.optional."
        )


def _with_optional(frame: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    absent = [name for name in contract.request_columns if name not in frame.columns]
    return frame.with_columns(pl.lit(None).alias(name) for name in absent)


def _number(column: pl.Series, contract: Contract) -> pl.Series:
    dtype = column.dtype
    if dtype.is_numeric() or dtype in (pl.Boolean, pl.Null):
        return column.cast(pl.Float64).fill_nan(None)
    if dtype in (pl.Categorical, pl.Enum):
        return _number(column.cast(pl.String), contract)
    if dtype != pl.String:
        raise DataError(
            f"Column {column.name!r} should hold numbers but holds {dtype}. "
            "Name it under another role in [columns], for example drop."
        )
    return _number_from_text(column, show_values=column.name not in contract.columns.pii)


def _number_from_text(column: pl.Series, *, show_values: bool) -> pl.Series:
    values = without_missing(column.str.strip_chars())
    numbers = values.cast(pl.Float64, strict=False)
    is_bad = numbers.is_null() & values.is_not_null()
    first = is_bad.arg_max()
    if is_bad.any() and first is not None:
        shown = repr(values[first]) if show_values else "a value"
        n_bad = int(is_bad.sum())
        raise DataError(
            f"Column {column.name!r}, row {first + 1}: {shown} is not a number "
            f"({n_bad} such rows). Correct them, or name the column in columns.categorical."
        )
    return numbers.fill_nan(None)


def as_text(column: pl.Series) -> pl.Series:
    """Return a column as text: whole numbers without a fraction, so that 2 and 2.0 are one.

    Raises:
        DataError: If the column holds lists, bytes or objects.
    """
    dtype = column.dtype
    if dtype.is_float() or dtype.is_decimal():
        return _text_from_numbers(column.cast(pl.Float64).fill_nan(None))
    if dtype.is_nested() or dtype in (pl.Binary, pl.Object):
        raise DataError(f"Column {column.name!r} should hold text but holds {dtype}.")
    return column.cast(pl.String)


def _text_from_numbers(numbers: pl.Series) -> pl.Series:
    """Return numbers as text; whole ones without a fraction, so that 2 and 2.0 are one."""
    whole = numbers.cast(pl.Int64, strict=False)
    is_whole = (whole.cast(pl.Float64) == numbers).fill_null(value=False)
    return whole.cast(pl.String).zip_with(is_whole, numbers.cast(pl.String))

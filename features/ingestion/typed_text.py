"""Types for columns of text, decided by every value and not by the first few.

A column is integer, number or boolean only if all of its values are; anything else stays
text. Digits with a leading zero (post codes, account numbers) and integers too long for 64
bits stay text as well, because as numbers they would lose what distinguishes them.
"""

import polars as pl

MISSING = ("", "NA", "N/A", "#N/A", "n/a", "NaN", "nan", "null", "NULL", "\\N")
"""Texts that stand for a missing value."""

_BOOLEANS = {"true": True, "false": False}
_LEADING_ZERO = r"^[+-]?0\d"
_INTEGER = r"^[+-]?\d+$"
_BEYOND_INT64 = 2.0**63
_PROBE_ROWS = 1_000


def infer_types(frame: pl.DataFrame) -> pl.DataFrame:
    """Return ``frame`` (String columns) with each column in the narrowest type that holds it.

    Example:
        >>> text = pl.DataFrame({"a": ["1", "NA"], "b": ["1", "1e+05"], "c": ["01", "x"]})
        >>> infer_types(text).dtypes
        [Int64, Float64, String]
    """
    return pl.DataFrame([infer_type(column) for column in frame])


def infer_type(column: pl.Series) -> pl.Series:
    """Return one column of text in the narrowest type that holds all of its values."""
    values = without_missing(column)
    if values.null_count() == len(values):
        return values
    stripped = values.str.strip_chars()
    # The first rows rule out most types at little cost; all rows decide.
    head = stripped.head(_PROBE_ROWS)
    for narrow in (_as_integer, _as_number, _as_boolean):
        narrowed = narrow(stripped) if narrow(head) is not None else None
        if narrowed is not None:
            return narrowed
    return values


def without_missing(column: pl.Series) -> pl.Series:
    """Return a String column with the texts of ``MISSING`` as nulls."""
    return column.set(column.is_in(MISSING), None)


def _as_integer(values: pl.Series) -> pl.Series | None:
    integers = values.cast(pl.Int64, strict=False)
    return None if _loses(values, integers) else integers


def _as_number(values: pl.Series) -> pl.Series | None:
    numbers = values.cast(pl.Float64, strict=False)
    if _loses(values, numbers):
        return None
    # An integer that did not fit would be rounded here: an identifier, not a quantity.
    large = values.filter(numbers.abs() >= _BEYOND_INT64)
    return None if large.str.contains(_INTEGER).any() else numbers


def _as_boolean(values: pl.Series) -> pl.Series | None:
    booleans = values.str.to_lowercase().replace_strict(
        _BOOLEANS, default=None, return_dtype=pl.Boolean
    )
    return None if booleans.null_count() > values.null_count() else booleans


def _loses(values: pl.Series, narrowed: pl.Series) -> bool:
    if narrowed.null_count() > values.null_count():
        return True
    return bool(values.str.contains(_LEADING_ZERO).any())

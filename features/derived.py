"""Derived columns: Polars SQL over one row, the same in a table and in a request.

An expression may read the columns of a scoring request and other derived columns, in whatever
order they are declared. Every result is Float64: true is 1, false is 0, a missing value stays
missing, and what is not a finite number (``1/0``, ``LN(-1)``) is missing too.

In an expression the event time is the wall clock of the contract's time zone
(``event_time.time_zone``), without a zone: ``EXTRACT(hour FROM t)``, ``CAST(t AS DATE)`` and
``t >= TIMESTAMP '2026-01-01 00:00:00'`` all mean local time, summer time included. It follows
that ``EXTRACT(epoch FROM t)`` counts local seconds, which are true seconds in UTC only.
"""

import difflib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Literal

import polars as pl

from features.contract import Contract, ContractError
from features.ingestion.data_error import DataError, first_line
from features.row_wise import NotRowWise, parse_row_wise

logger = logging.getLogger(__name__)

_CLOCK = pl.Datetime("us")


@dataclass(frozen=True, slots=True)
class _Compiled:
    """Expressions by depth: those of one level read source columns and earlier levels only."""

    levels: tuple[tuple[pl.Expr, ...], ...]
    sources: tuple[str, ...]


def derive(frame: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    """Return ``frame`` with every derived column of the contract, Float64, null where missing.

    Args:
        frame: Conformed rows. Optional columns that it lacks count as missing.
        contract: Resolved against the table.

    Raises:
        ContractError: If an expression is invalid; names its key.
        DataError: If the frame lacks a column that an expression reads.
    """
    if not contract.derived:
        return frame
    compiled = _compiled(tuple(contract.derived.items()))
    work = _sources(frame, contract, compiled.sources)
    for level in compiled.levels:
        work = work.with_columns(level)
    return frame.with_columns(work.select(tuple(contract.derived)))


def check_expressions(contract: Contract, schema: Mapping[str, pl.DataType] | None = None) -> None:
    """Check every derived column before any data is read.

    Args:
        contract: Resolved or not; a name that matches a pattern counts as a column.
        schema: Types of the conformed table; default: those that the contract gives.

    Raises:
        ContractError: If an expression does not parse, reads an unknown column or itself, looks
            at other rows, or does not give a number or a truth value; names the derived key.
    """
    if not contract.derived:
        return
    compiled = _compiled(tuple(contract.derived.items()))
    types = {name: _type_of(contract, name, schema) for name in compiled.sources}
    _check_sources(contract, types)
    # One row of nulls: types are known without data, and invalid patterns and formats show.
    row = pl.DataFrame({name: pl.Series([None], dtype=t) for name, t in types.items() if t})
    for key, expression in _in_order(contract.derived):
        row = row.with_columns(_checked(key, expression, row))


def derived_sources(contract: Contract) -> tuple[str, ...]:
    """Return the source columns that derived columns read, in order of first use."""
    return _compiled(tuple(contract.derived.items())).sources


def ordered_expressions(contract: Contract) -> tuple[tuple[str, pl.Expr], ...]:
    """Return every derived column's expression, after those that it reads."""
    return tuple(_in_order(contract.derived))


def source_type(contract: Contract, name: str) -> Literal["clock", "number", "text"]:
    """Return what a source column is to an expression."""
    if name == contract.event_time_column:
        return "clock"
    return "number" if _type_of(contract, name, None) == pl.Float64 else "text"


def _sources(frame: pl.DataFrame, contract: Contract, names: Sequence[str]) -> pl.DataFrame:
    absent = [name for name in names if name not in frame.columns]
    for name in absent:
        if name not in contract.columns.optional:
            raise DataError(
                f"The table lacks column {name!r}, which [derived] reads. "
                "Add it, or name it in columns.optional."
            )
    nulls = [pl.lit(None, dtype=_type_of(contract, name, None)).alias(name) for name in absent]
    present = frame.select(name for name in names if name not in absent)
    event_time = contract.columns.event_time
    if event_time is not None and event_time.column in present.columns:
        clock = pl.col(event_time.column).dt.convert_time_zone(event_time.time_zone)
        present = present.with_columns(clock.dt.replace_time_zone(None))
    return present.with_columns(nulls)


@lru_cache(maxsize=64)
def _compiled(derived: tuple[tuple[str, str], ...]) -> _Compiled:
    parsed = dict(_in_order(dict(derived)))
    depth: dict[str, int] = {}
    sources: dict[str, None] = {}
    for key, expression in parsed.items():
        roots = expression.meta.root_names()
        sources.update(dict.fromkeys(name for name in roots if name not in parsed))
        depth[key] = 1 + max((depth[name] for name in roots if name in parsed), default=0)
    levels = tuple(
        tuple(_as_number(parsed[key]).alias(key) for key in parsed if depth[key] == level)
        for level in range(1, max(depth.values(), default=0) + 1)
    )
    return _Compiled(levels, tuple(sources))


def _in_order(derived: Mapping[str, str]) -> Iterator[tuple[str, pl.Expr]]:
    """Yield parsed expressions, each after those that it reads; a circle is refused."""
    parsed = {key: _parsed(key, sql) for key, sql in derived.items()}
    done: set[str] = set()

    def visit(key: str, path: tuple[str, ...]) -> Iterator[tuple[str, pl.Expr]]:
        if key in path:
            circle = " -> ".join((*path[path.index(key) :], key))
            raise ContractError(f"derived.{key} is computed from itself ({circle}).")
        for name in parsed[key].meta.root_names():
            if name in parsed and name not in done:
                yield from visit(name, (*path, key))
        if key not in done:
            done.add(key)
            yield key, parsed[key]

    for key in parsed:
        yield from visit(key, ())


def _parsed(key: str, sql: str) -> pl.Expr:
    try:
        return parse_row_wise(sql)
    except NotRowWise as error:
        raise ContractError(
            f"derived.{key} = {sql!r}: {error}. "
            "Write a Polars SQL expression over the row's columns."
        ) from None


def _as_number(expression: pl.Expr) -> pl.Expr:
    number = expression.cast(pl.Float64)
    return pl.when(number.is_finite()).then(number)


def _checked(key: str, expression: pl.Expr, row: pl.DataFrame) -> pl.Series:
    try:
        dtype = row.select(expression.alias(key)).schema[key]
    except pl.exceptions.PolarsError as error:
        raise ContractError(f"derived.{key} cannot be evaluated: {first_line(error)}.") from None
    if not (dtype.is_numeric() or dtype == pl.Boolean):
        raise ContractError(
            f"derived.{key} must give a number or a truth value; it gives {dtype}. "
            "Compare it, or take a part of it with LENGTH, EXTRACT or CASE."
        )
    return pl.Series(key, [None], dtype=pl.Float64)


def _check_sources(contract: Contract, types: Mapping[str, pl.DataType | None]) -> None:
    for name, dtype in types.items():
        if dtype is not None:
            continue
        key = next(
            key
            for key, sql in contract.derived.items()
            if name in _parsed(key, sql).meta.root_names()
        )
        known = [*contract.request_columns, *contract.derived]
        close = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        quoted = next((column for column in known if column.startswith(f"{name}.")), None)
        if quoted:
            hint = f' Write "{quoted}" in double quotes: its name holds a dot.'
        raise ContractError(
            f"derived.{key} reads {name!r}, which is neither a column of a scoring request "
            f"nor a derived column.{hint}"
        )


def _type_of(
    contract: Contract, name: str, schema: Mapping[str, pl.DataType] | None
) -> pl.DataType | None:
    """Return a source column's type in expressions; None where requests do not carry it."""
    if name == contract.event_time_column:
        return _CLOCK
    if any(fnmatchcase(name, pattern) for pattern in contract.numeric_columns):
        found: pl.DataType = pl.Float64()
    elif any(fnmatchcase(name, pattern) for pattern in contract.request_columns):
        found = pl.String()
    else:
        return None
    return found if schema is None else schema.get(name)

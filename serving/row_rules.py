"""Row rules of the contract in the service: a row that breaks one is scored, flagged, reviewed.

Each rule has two evaluators, over a table and over the rows of a request; a property test holds
them equal.
"""

import operator
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.contract import Contract
from features.contract_blocks import ColumnRule
from serving.event_times import microseconds_per
from serving.requests import TypedRow

FLAG = "rule:"
"""Begins the flag of every broken row rule."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")

_MICROSECOND = timedelta(microseconds=1)

Broken = dict[str, NDArray[np.bool_]]


@dataclass(frozen=True, slots=True)
class _Check:
    """One rule on one column: over a table as an expression, over one value as a function.

    Attributes:
        outermost: Picks the number that breaks it if any of some numbers does; None where no
            number does so for all.
        is_about_null: Whether only a missing value breaks it.
    """

    flag: str
    column: str
    over_table: pl.Expr
    over_value: Callable[[Any], bool]
    outermost: Callable[[list[Any]], Any] | None = None
    is_about_null: bool = False


class RowRules:
    """The row rules that a single row can break: min, max, null, values and pattern.

    Types are checked when a request is read; uniqueness is a matter of the whole table.
    """

    def __init__(self, contract: Contract) -> None:
        self._checks = tuple(
            check
            for column in (*contract.request_columns, *contract.derived)
            for check in _checks(column, _rule_of(contract, column), _numbers_of(contract, column))
        )
        self._by_column: dict[str, list[_Check]] = {}
        for check in self._checks:
            self._by_column.setdefault(check.column, []).append(check)
        # Their typed values stand in the order of the numbers that a bound is about.
        self._ordered = frozenset(
            {*contract.numeric_columns, *contract.derived, contract.event_time_column}
        )

    def broken(self, frame: pl.DataFrame) -> Broken:
        """Return, by flag, which rows break that rule; rules that no row breaks are left out.

        Shape:
            ``(n_rows,)`` bool each.
        """
        checks = [check for check in self._checks if check.column in frame.columns]
        if not checks:
            return {}
        masks = frame.select(
            check.over_table.fill_null(value=False).alias(check.flag) for check in checks
        )
        return {mask.name: mask.to_numpy() for mask in masks if mask.any()}

    def broken_by(self, rows: Sequence[TypedRow]) -> Broken:
        """Return the same as :meth:`broken` for typed rows of a request, without a table."""
        found = {}
        for column, checks in self._by_column.items():
            values = [row.get(column) for row in rows]
            has_missing = None in values
            for check in checks:
                if self._may_break(check, values, has_missing=has_missing):
                    mask = [check.over_value(value) for value in values]
                    if any(mask):
                        found[check.flag] = np.array(mask)
        return found

    def _may_break(self, check: _Check, values: list[Any], *, has_missing: bool) -> bool:
        """Return False only if none of a column's values breaks a rule."""
        if check.is_about_null:
            return has_missing
        if check.outermost is not None and not has_missing and check.column in self._ordered:
            outermost = check.outermost(values)
            if outermost == outermost:  # noqa: PLR0124 - NaN has no place in an order
                return check.over_value(outermost)
        return any(map(check.over_value, set(values)))


@dataclass(frozen=True, slots=True)
class _Numbers:
    """How the number that a bound is about is read from a column, and from one value."""

    over_table: pl.Expr
    over_value: Callable[[Any], float | None]


def _numbers_of(contract: Contract, column: str) -> _Numbers | None:
    """Return how numbers are read; None for a time that is not given as a number."""
    event_time = contract.columns.event_time
    if event_time is None or column != event_time.column:
        # Categories are text; a bound on them is meant for the number that they spell.
        spelt = pl.col(column).cast(pl.Float64, strict=False).fill_nan(None)
        return _Numbers(spelt, _number)
    if event_time.unit is None or event_time.origin_utc is None:
        return None
    origin, scale = event_time.origin_utc, microseconds_per(event_time.unit)
    since = pl.col(column) - pl.lit(origin).cast(pl.Datetime("us", "UTC"))

    def count(moment: datetime | None) -> float | None:
        return None if moment is None else (moment - origin) // _MICROSECOND / scale

    return _Numbers(since.dt.total_microseconds() / scale, count)


def _rule_of(contract: Contract, column: str) -> ColumnRule:
    """Return the expectations on a column: by its name, or by the first pattern it matches."""
    rules = contract.expectations.columns
    matches = (rule for pattern, rule in rules.items() if fnmatchcase(column, pattern))
    return rules.get(column) or next(matches, ColumnRule())


def _checks(column: str, rule: ColumnRule, numbers: _Numbers | None) -> Iterator[_Check]:
    value = pl.col(column)
    if rule.null is False:
        flag = f"{FLAG}{column}.null"
        yield _Check(flag, column, value.is_null(), _is_missing, is_about_null=True)
    if numbers is None:
        return
    if rule.min is not None:
        below = _over_number(numbers, operator.lt, rule.min)
        flag = f"{FLAG}{column}.min"
        yield _Check(flag, column, numbers.over_table < rule.min, below, min)
    if rule.max is not None:
        above = _over_number(numbers, operator.gt, rule.max)
        flag = f"{FLAG}{column}.max"
        yield _Check(flag, column, numbers.over_table > rule.max, above, max)
    if numbers.over_value is not _number:
        return
    if rule.values is not None:
        yield _values_check(column, rule.values)
    if rule.pattern is not None:
        yield _pattern_check(column, rule.pattern)


def _is_missing(value: Any) -> bool:
    return value is None


def _over_number(
    numbers: _Numbers, is_broken: Callable[[float, float], bool], bound: float
) -> Callable[[Any], bool]:
    def check(value: Any) -> bool:
        number = numbers.over_value(value)
        return number is not None and is_broken(number, bound)

    return check


def _values_check(column: str, allowed: tuple[bool | int | float | str, ...]) -> _Check:
    """Compare as text and, where an allowed value is a number, as a number too."""
    texts = {str(item).lower() if isinstance(item, bool) else str(item) for item in allowed}
    numbers = {float(item) for item in allowed if not isinstance(item, str)}
    value = pl.col(column)
    as_number = value.cast(pl.Float64, strict=False).is_in(list(numbers)).fill_null(value=False)
    is_allowed = value.cast(pl.String).is_in(list(texts)) | (as_number & value.is_not_null())

    def is_other(given: Any) -> bool:
        return given is not None and str(given) not in texts and _number(given) not in numbers

    return _Check(f"{FLAG}{column}.values", column, ~is_allowed, is_other)


def _pattern_check(column: str, pattern: str) -> _Check:
    # Python's own matching in both: Polars' has no look-around.
    whole = re.compile(pattern)

    def is_other(given: Any) -> bool:
        return given is not None and whole.fullmatch(str(given)) is None

    def over_column(texts: pl.Series) -> pl.Series:
        return pl.Series([is_other(text) for text in texts], dtype=pl.Boolean)

    expression = pl.col(column).cast(pl.String).map_batches(over_column, return_dtype=pl.Boolean)
    return _Check(f"{FLAG}{column}.pattern", column, expression, is_other)


def _number(value: Any) -> float | None:
    if isinstance(value, str):
        return float(value) if _NUMBER.fullmatch(value) else None
    return None if value is None or value != value else float(value)  # noqa: PLR0124 - NaN

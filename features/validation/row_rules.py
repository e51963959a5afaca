"""Row rules: what one row must satisfy to go on, built from the contract.

Which rules there are:

- ``type``: a value that cannot be read as what the contract says the column holds;
- ``null``: no id or event time, or no value where the contract says ``null = false``;
- ``finite``: an infinity in a numeric column, always refused;
- ``range``, ``values``, ``pattern``: as the contract says;
- ``unique``: the id, and columns the contract calls unique. The first row of an id passes, every
  later one fails: which of them is right nobody can tell here, but one transaction counts once.

NaN is a missing value. A row is judged on what was read: a value that fails ``type`` is not said
to be null as well, and a missing value breaks ``null`` only.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

import polars as pl

from features.contract import Contract, ContractError
from features.contract_blocks import ColumnRule
from features.validation.readings import READERS, Reading

RuleName = Literal["type", "null", "finite", "range", "values", "pattern", "unique"]
Kind = Literal["number", "integer", "text", "timestamp", "boolean"]

_KIND_WORDS = {
    "number": "a number", "integer": "a whole number", "text": "text",
    "timestamp": "a point in time", "boolean": "true or false",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class RowRule:
    """One rule on one column.

    Attributes:
        rule: Which rule it is.
        column: The column of the source it judges.
        check: The column of the checks frame that shows whether a row breaks it.
        expected: The rule in words.
        low: Least value allowed.
        high: Greatest value allowed.
        values: The values allowed.
        pattern: Regular expression that the whole text must match.
    """

    rule: RuleName
    column: str
    check: str
    expected: str
    low: float | None = None
    high: float | None = None
    values: tuple[bool | float | str, ...] | None = None
    pattern: str | None = None

    @property
    def name(self) -> str:
        """The rule as the quarantine names it, for example ``range(TX_AMOUNT)``."""
        return f"{self.rule}({self.column})"


def row_rules(contract: Contract, schema: Mapping[str, pl.DataType]) -> tuple[RowRule, ...]:
    """Return every row rule of a contract for a table.

    Args:
        contract: Resolved against the table.
        schema: Columns of the raw table and their types.

    Raises:
        ContractError: If an expectation cannot be applied; names its key.
    """
    rules: list[RowRule] = []
    for column in (*schema, *contract.derived):
        is_ignored = column in contract.columns.drop and _own_rule(contract, column) == ColumnRule()
        if not is_ignored:
            rules += _rules_of_column(contract, schema, column)
    return tuple(rules)


def unique_columns(rules: tuple[RowRule, ...]) -> list[str]:
    """Return the columns whose values may appear only once."""
    return [rule.column for rule in rules if rule.rule == "unique"]


def reading(contract: Contract, schema: Mapping[str, pl.DataType], column: str) -> Reading:
    """Return how a column other than a time is read: as its type or its role says."""
    return READERS[kind_of(contract, column)](column, schema[column])


def kind_of(contract: Contract, column: str) -> Kind:
    """Return what a column holds: as its expectation says, or else as its role implies."""
    if column == contract.event_time_column:
        return "timestamp"
    rule = _own_rule(contract, column)
    if rule.type is not None:
        return rule.type
    is_number = column in contract.numeric_features or rule.min is not None or rule.max is not None
    return "number" if is_number else "text"


def _rules_of_column(
    contract: Contract, schema: Mapping[str, pl.DataType], column: str
) -> Iterator[RowRule]:
    own = _own_rule(contract, column)
    kind = kind_of(contract, column)
    yield from _implied_rules(contract, schema, column, kind)
    if own.null is False or (own.null is None and _is_required(contract, column)):
        yield RowRule("null", column, f"present:{column}", "a value")
    if own.min is not None or own.max is not None:
        if kind not in ("number", "integer") and not _counts_time(contract, column):
            raise ContractError(
                f"expectations.{column}: min and max are for numbers, and this column is {kind}."
            )
        words = _range_words(own.min, own.max)
        yield RowRule("range", column, f"number:{column}", words, low=own.min, high=own.max)
    if own.values is not None:
        yield _values_rule(column, own.values, kind, schema.get(column))
    if own.pattern is not None:
        yield _pattern_rule(column, own.pattern)
    is_id = column == contract.columns.id
    if own.unique or (own.unique is None and is_id):
        yield RowRule("unique", column, f"first:{column}", "no earlier row with this value")


def _implied_rules(
    contract: Contract, schema: Mapping[str, pl.DataType], column: str, kind: Kind
) -> Iterator[RowRule]:
    is_derived = column in contract.derived
    can_be_lost = kind == "timestamp" or (
        not is_derived and reading(contract, schema, column).lost is not None
    )
    if can_be_lost:
        yield RowRule("type", column, f"readable:{column}", _KIND_WORDS[kind])
    if kind in ("number", "integer") and not is_derived:
        # GX has no rule for infinities; no float but an infinity lies outside these bounds.
        low, high = -sys.float_info.max, sys.float_info.max
        yield RowRule("finite", column, f"number:{column}", "no infinity", low=low, high=high)


def _counts_time(contract: Contract, column: str) -> bool:
    """Return whether a column holds the time as a number, for example of seconds."""
    event_time = contract.columns.event_time
    return event_time is not None and event_time.column == column and event_time.unit is not None


def _is_required(contract: Contract, column: str) -> bool:
    return column in (contract.columns.id, contract.event_time_column)


def _own_rule(contract: Contract, column: str) -> ColumnRule:
    """Return the expectations on a column: by its name, or by the first pattern it matches."""
    rules = contract.expectations.columns
    if column in rules:
        return rules[column]
    matches = (rule for pattern, rule in rules.items() if fnmatchcase(column, pattern))
    return next(matches, ColumnRule())


def _values_rule(
    column: str,
    values: tuple[bool | float | str, ...],
    kind: Kind,
    dtype: pl.DataType | None,
) -> RowRule:
    words = f"one of {', '.join(map(str, values[:8]))}{' …' if len(values) > 8 else ''}"
    numbers = [number for number in map(_number, values) if number is not None]
    holds_numbers = kind in ("number", "integer") or (dtype is not None and dtype.is_numeric())
    if holds_numbers and len(numbers) == len(values):
        # Codes such as 1, 2, 3 that a gap in the column turned into 1.0, 2.0, 3.0 are the same.
        return RowRule("values", column, f"number:{column}", words, values=tuple(numbers))
    if kind in ("number", "integer"):
        raise ContractError(f"expectations.{column}.values must be numbers. Got {list(values)}.")
    texts = tuple(str(v).lower() if isinstance(v, bool) else str(v) for v in values)
    return RowRule("values", column, f"text:{column}", words, values=texts)


def _pattern_rule(column: str, pattern: str) -> RowRule:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ContractError(
            f"expectations.{column}.pattern is not a regular expression: {error}. Got {pattern!r}."
        ) from None
    whole = rf"\A(?:{pattern})\Z"
    return RowRule("pattern", column, f"text:{column}", f"text like {pattern}", pattern=whole)


def _number(value: bool | float | str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None


def _range_words(low: float | None, high: float | None) -> str:
    if low is None:
        return f"at most {high:g}"
    return f"at least {low:g}" if high is None else f"from {low:g} to {high:g}"

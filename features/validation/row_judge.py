"""The row rules applied to rows: which row breaks which rule, and what the others become.

The whole table is looked at twice: once, in Polars, for what no single chunk can tell (times,
of which all must be written in one way, and values seen before), and once chunk by chunk.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from features.contract import Contract
from features.contract_blocks import EventTime
from features.ingestion.conforming import conform
from features.ingestion.timestamps import count_from_origin, to_utc_or_null
from features.ingestion.typed_text import MISSING
from features.validation.expectations import IntArray, RowSuite
from features.validation.readings import READERS
from features.validation.row_rules import RowRule, kind_of, reading, row_rules, unique_columns


@dataclass(frozen=True, slots=True)
class WholeTable:
    """What the rules need that follows from all rows together.

    Attributes:
        moments: By time column, every row's moment in UTC; null where it is missing or unreadable.
        is_first: By unique column, whether no earlier row has this row's value.
    """

    moments: Mapping[str, pl.Series]
    is_first: Mapping[str, pl.Series]

    def rows(self, start: int, n_rows: int) -> "WholeTable":
        """Return the same for a stretch of the rows."""
        return WholeTable(
            {name: column.slice(start, n_rows) for name, column in self.moments.items()},
            {name: column.slice(start, n_rows) for name, column in self.is_first.items()},
        )

    def take(self, positions: IntArray) -> "WholeTable":
        """Return the same for some of the rows."""
        return WholeTable(
            {name: column[positions] for name, column in self.moments.items()},
            {name: column[positions] for name, column in self.is_first.items()},
        )


class RowJudge:
    """The row rules of a contract for tables of one schema."""

    def __init__(self, contract: Contract, schema: Mapping[str, pl.DataType]) -> None:
        self.contract = contract
        self.schema = dict(schema)
        self.rules: tuple[RowRule, ...] = row_rules(contract, schema)
        self._suite = RowSuite(self.rules)
        self._judged = tuple(dict.fromkeys(r.column for r in self.rules if r.column in schema))
        self._times = [name for name in self._judged if kind_of(contract, name) == "timestamp"]

    @property
    def whole_columns(self) -> list[str]:
        """Columns that are looked at over all rows at once."""
        return list(dict.fromkeys((*self._times, *unique_columns(self.rules))))

    @property
    def unique_columns(self) -> list[str]:
        """Columns whose values may appear only once."""
        return unique_columns(self.rules)

    def look_at_all(
        self,
        columns: pl.DataFrame,
        *,
        replaced: pl.DataFrame | None = None,
        taken: Mapping[str, pl.Series] | None = None,
    ) -> WholeTable:
        """Return what follows from all rows together.

        Args:
            columns: ``whole_columns`` of every row.
            replaced: Rows that stand in for others: ``_row`` is the position of each.
            taken: By unique column, values that rows elsewhere have already.
        """
        taken = taken or {}
        values = {name: as_values(columns[name]) for name in unique_columns(self.rules)}
        if replaced is not None and replaced.height:
            values = {
                name: column.scatter(replaced["_row"], as_values(replaced[name]))
                for name, column in values.items()
            }
        moments = {name: to_utc_or_null(columns[name], self._how(name)) for name in self._times}
        is_first = {name: _is_first(column, taken.get(name)) for name, column in values.items()}
        return WholeTable(moments, is_first)

    def typed(self, rows: pl.DataFrame, whole: WholeTable) -> pl.DataFrame:
        """Return rows as ``ingestion.conform`` types them; null where a value cannot be read."""
        numbers = [
            READERS["number"](name, self.schema[name]).value.alias(name)
            for name in self.contract.numeric_columns
            if name in self.schema
        ]
        time = self.contract.event_time_column
        times = [whole.moments[time].alias(time)] if time in whole.moments and time else []
        return conform(rows.with_columns(*numbers).with_columns(times), self.contract)

    def failing(self, rows: pl.DataFrame, typed: pl.DataFrame, whole: WholeTable) -> list[IntArray]:
        """Return, for each rule, the positions of the rows that break it.

        A row whose value could not be read is not said to be missing as well.
        """
        failing = self._suite.failing(self._checks(rows, typed, whole))
        unread = {
            rule.column: positions
            for rule, positions in zip(self.rules, failing, strict=True)
            if rule.rule == "type"
        }
        return [
            np.setdiff1d(positions, unread[rule.column])
            if rule.rule == "null" and rule.column in unread
            else positions
            for rule, positions in zip(self.rules, failing, strict=True)
        ]

    def _checks(self, rows: pl.DataFrame, typed: pl.DataFrame, whole: WholeTable) -> pl.DataFrame:
        derived = self._derived(typed)
        checks = {rule.check: rule for rule in self.rules}
        columns = [
            self._check(rule, rows, derived if rule.column in self.contract.derived else typed,
                        whole).alias(check)
            for check, rule in checks.items()
        ]  # fmt: skip
        return pl.DataFrame(columns)

    def _check(
        self, rule: RowRule, rows: pl.DataFrame, typed: pl.DataFrame, whole: WholeTable
    ) -> pl.Series:
        what, name = rule.check.partition(":")[0], rule.column
        if what == "first":
            return whole.is_first[name]
        if what == "readable":
            return ~self._lost(rows, name, whole)
        if what == "present":
            missing = self._missing(rows, typed, name)
            return pl.Series([1], dtype=pl.Int8).new_from_index(0, len(missing)).set(missing, None)
        if what == "number":
            return self._number(rows, typed, name, whole)
        return typed[name] if typed[name].dtype == pl.String else _text(rows[name])

    def _number(
        self, rows: pl.DataFrame, typed: pl.DataFrame, name: str, whole: WholeTable
    ) -> pl.Series:
        if name not in rows.columns or name in self.contract.numeric_columns:
            return typed[name].cast(pl.Float64)
        read = READERS["number"](name, self.schema[name])
        numbers = rows.select(read.value.alias(name))[name]
        event_time = self.contract.columns.event_time
        if event_time is None or event_time.column != name or event_time.unit is None:
            return numbers
        # Timestamps, as tables of served rows have them, are held against the same bounds.
        return numbers.fill_null(count_from_origin(whole.moments[name], event_time))

    def _lost(self, rows: pl.DataFrame, name: str, whole: WholeTable) -> pl.Series:
        if name in whole.moments:
            return whole.moments[name].is_null() & ~_is_missing(rows[name])
        lost = reading(self.contract, self.schema, name).lost
        assert lost is not None
        return rows.select(lost.alias(name))[name]

    def _missing(self, rows: pl.DataFrame, typed: pl.DataFrame, name: str) -> pl.Series:
        if name not in rows.columns:
            return typed[name].is_null()
        if name in self._times:
            return _is_missing(rows[name])
        read = reading(self.contract, self.schema, name)
        return rows.select(read.missing.alias(name))[name]

    def _derived(self, typed: pl.DataFrame) -> pl.DataFrame:
        if not any(rule.column in self.contract.derived for rule in self.rules):
            return typed
        from features.derived import derive

        return derive(typed, self.contract)

    def _how(self, name: str) -> EventTime:
        event_time = self.contract.columns.event_time
        if event_time is not None and event_time.column == name:
            return event_time
        return EventTime(column=name)


def rules_by_row(rules: Sequence[RowRule], failing: Sequence[IntArray]) -> pl.DataFrame:
    """Return one row for each failing position: ``position`` and ``_rules``, a list of names."""
    pairs = [
        pl.DataFrame({"position": positions, "rule": np.full(len(positions), i, dtype=np.int64)})
        for i, positions in enumerate(failing)
        if len(positions)
    ]
    names = pl.Series([rule.name for rule in rules], dtype=pl.String)
    if not pairs:
        return pl.DataFrame(schema={"position": pl.Int64, "_rules": pl.List(pl.String)})
    numbered = pl.concat(pairs).with_columns(_rules=names[pl.concat(pairs)["rule"]])
    grouped = numbered.group_by("position", maintain_order=True).agg("_rules")
    return grouped.sort("position")


def as_values(column: pl.Series) -> pl.Series:
    """Return values as uniqueness compares them: as text, 17.0 like 17, NaN as null."""
    if not column.dtype.is_float():
        return column.cast(pl.String)
    numbers = column.cast(pl.Float64).fill_nan(None)
    whole = numbers.cast(pl.Int64, strict=False)
    is_whole = (whole.cast(pl.Float64) == numbers).fill_null(value=False)
    return whole.cast(pl.String).zip_with(is_whole, numbers.cast(pl.String))


def _is_first(values: pl.Series, taken: pl.Series | None) -> pl.Series:
    n_taken = 0 if taken is None else len(taken)
    both = values if taken is None else pl.concat([as_values(taken), values])
    return (both.is_first_distinct() | both.is_null()).slice(n_taken)


def _is_missing(column: pl.Series) -> pl.Series:
    if column.dtype == pl.String:
        stripped = column.str.strip_chars()
        return column.is_null() | stripped.is_in(MISSING).fill_null(value=True)
    return (column.fill_nan(None) if column.dtype.is_float() else column).is_null()


def _text(column: pl.Series) -> pl.Series:
    return column.cast(pl.String, strict=False)

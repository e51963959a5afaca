"""How often each row rule was broken, with the first rows that broke it."""

from collections.abc import Sequence

import polars as pl

from features.contract import Contract
from features.validation.expectations import IntArray
from features.validation.outcome import Example, RowFailure
from features.validation.row_rules import RowRule

_EXAMPLES = 5
_LONGEST_VALUE = 60
WITHHELD = "(withheld)"


class Tally:
    """Counts over the chunks of one table."""

    def __init__(self, contract: Contract) -> None:
        self.read = 0
        self._pii = frozenset(contract.columns.pii)
        self._rules: dict[str, RowRule] = {}
        self._counts: dict[str, int] = {}
        self._examples: dict[str, list[Example]] = {}

    def add(
        self,
        rules: Sequence[RowRule],
        failing: Sequence[IntArray],
        rows: pl.DataFrame,
        numbers: pl.Series,
    ) -> None:
        """Count the failing rows of a chunk.

        Args:
            rules: The rules applied.
            failing: For each rule the positions of the rows that break it.
            rows: The rows as read.
            numbers: Their row numbers in the source.
        """
        for rule, positions in zip(rules, failing, strict=True):
            if len(positions) == 0:
                continue
            self._rules.setdefault(rule.name, rule)
            self._counts[rule.name] = self._counts.get(rule.name, 0) + len(positions)
            kept = self._examples.setdefault(rule.name, [])
            for position in positions[: _EXAMPLES - len(kept)]:
                value = self._shown(rule.column, rows, int(position))
                kept.append(Example(row=int(numbers[int(position)]), value=value))

    def failures(self) -> tuple[RowFailure, ...]:
        """Return the rules that were broken, most rows first."""
        failures = [
            RowFailure(
                name=name,
                rule=rule.rule,
                column=rule.column,
                expected=rule.expected,
                count=self._counts[name],
                examples=tuple(self._examples[name]),
            )
            for name, rule in self._rules.items()
        ]
        return tuple(sorted(failures, key=lambda failure: (-failure.count, failure.name)))

    def _shown(self, column: str, rows: pl.DataFrame, position: int) -> str | None:
        if column not in rows.columns:
            return None
        value = rows[column][position]
        if value is None:
            return None
        if column in self._pii:
            return WITHHELD
        text = str(value)
        return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"

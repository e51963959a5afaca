"""What validation found, in a form that people, reports and later steps can read."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from features.validation.profile import DataProfile
from infra.errors import Refusal

_NAMED_RULES = 5


class DataValidationFailed(Refusal):
    """Raised when a table as a whole breaks a rule; report and quarantine are written by then."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Example(_Frozen):
    """One failing row.

    Attributes:
        row: Its number in the source, counted from 0.
        value: The value that broke the rule, as text; withheld for columns under ``pii``.
    """

    row: int
    value: str | None


class RowFailure(_Frozen):
    """One row rule that rows broke.

    Attributes:
        name: The rule as the quarantine names it, for example ``range(TX_AMOUNT)``.
        rule: What is judged.
        column: On which column.
        expected: The rule in words.
        count: Rows that broke it. A row may break several rules.
        examples: The first rows that broke it.
    """

    name: str
    rule: str
    column: str
    expected: str
    count: int
    examples: tuple[Example, ...] = ()


class TableResult(_Frozen):
    """One rule on the table as a whole.

    Attributes:
        name: For example ``mean_drift(V14)``.
        rule: What is judged.
        column: On which column, if on one.
        unit: What the figures count: rows, share, seconds, std or flag.
        low: Least figure allowed.
        high: Greatest figure allowed.
        before: The figure in the profile of the last released version.
        observed: The figure found; None where there was nothing to judge.
        observed_text: The same in words.
        expected: What is allowed, in words.
        passed: None where there was nothing to judge.
        is_drift: Whether the table was held against the last released version's profile.
        accepted: Whether it is broken, and the flow goes on because a person said so.
    """

    name: str
    rule: str
    column: str | None
    unit: str
    low: float | None = None
    high: float | None = None
    before: float | None = None
    observed: float | None
    observed_text: str
    expected: str
    passed: bool | None
    is_drift: bool = False
    accepted: bool = False


class ValidationOutcome(_Frozen):
    """What validation found. ``read`` is always ``passed + quarantined``.

    Attributes:
        contract: Name of the contract.
        source_sha256: What identifies the source.
        read: Rows read.
        passed: Rows that go on.
        quarantined: Rows that broke a row rule.
        corrected: Rows of the source that were replaced by corrected ones taken back earlier.
        already_taken: Rows handed to a requeue that had been taken back before; not counted.
        row_failures: Row rules that were broken, most rows first.
        table_results: Every table rule, broken ones first. Empty after a requeue.
        stopped: Whether a table rule is broken: the flow must not go on.
        profile: Profile of the rows that passed.
        compared_rows: Rows of the profile that the table was held against, if there was one.
        as_of: The moment that freshness was measured from, UTC.
        quarantine_path: Where the failing rows are.
        passed_path: Where the rows that go on are.
    """

    contract: str
    source_sha256: str
    read: int
    passed: int
    quarantined: int
    corrected: int = 0
    already_taken: int = 0
    row_failures: tuple[RowFailure, ...] = ()
    table_results: tuple[TableResult, ...] = ()
    stopped: bool = False
    profile: DataProfile | None = None
    compared_rows: int | None = None
    as_of: datetime
    quarantine_path: Path
    passed_path: Path

    @property
    def broken_table_rules(self) -> tuple[TableResult, ...]:
        """The table rules that stop the flow."""
        return tuple(
            result
            for result in self.table_results
            if result.passed is False and not result.accepted
        )

    @property
    def accepted_table_rules(self) -> tuple[TableResult, ...]:
        """The table rules that are broken and do not stop the flow."""
        return tuple(result for result in self.table_results if result.accepted)

    def raise_if_stopped(self, *, report: Path | None = None, drift_hint: str = "") -> None:
        """Raise for a broken table rule, in one line that names the rules.

        Args:
            report: Where it is told at length.
            drift_hint: The way on where nothing but drift stops the flow.

        Raises:
            DataValidationFailed: If the flow must not go on.
        """
        if not self.stopped:
            return
        broken = self.broken_table_rules
        shown = "; ".join(
            f"{r.name} is {r.observed_text}, expected {r.expected}" for r in broken[:_NAMED_RULES]
        )
        more = f"; and {len(broken) - _NAMED_RULES} more" if len(broken) > _NAMED_RULES else ""
        where = f" Report: {report}." if report is not None else ""
        hint = f" {drift_hint}" if drift_hint and all(r.is_drift for r in broken) else ""
        raise DataValidationFailed(
            f"Validation stopped the flow ({self.passed:,} of {self.read:,} rows passed): "
            f"{shown}{more}.{where}{hint}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values that JSON can hold."""
        return self.model_dump(mode="json")

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return the outcome that :meth:`to_json` wrote."""
        return cls.model_validate(dict(value))

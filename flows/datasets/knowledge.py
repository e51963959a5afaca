"""What is known of decided rows at a moment: reports, and what it says that there is none."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from features.contract import Contract
from features.durations import microseconds
from features.online.events import microseconds_of, moment_of
from flows.datasets.coverage import DECLINED, IMMATURE, UNLABELLED
from serving.outcomes import OutcomeBook
from serving.reported_labels import Outcome

LabelValue = bool | int | float | str


@dataclass(frozen=True, slots=True)
class Decided:
    """What of a decision says whether its label can be known.

    Attributes:
        names: What reports may call the row, as the log does.
        moment: When it happened, in microseconds since 1970-01-01 UTC.
        is_declined: Whether it was declined: then nobody will ever report by himself.
    """

    names: tuple[str, ...]
    moment: int
    is_declined: bool


@dataclass(frozen=True, slots=True)
class Known:
    """A label that is known.

    Attributes:
        label: 1 for the positive class, 0 for the other.
        reported_at: When it was reported; None where the absence of a report says it.
    """

    label: int
    reported_at: datetime | None


class LabelKnowledge:
    """The labels of one contract's rows, as they were known at a moment.

    Args:
        book: Every report.
        contract: Says what the absence of a report means, and from when on.
        as_of: The moment.
    """

    def __init__(self, book: OutcomeBook, contract: Contract, as_of: datetime) -> None:
        self._book = book
        self._contract = contract
        self._as_of = microseconds_of(as_of)
        self._delay = microseconds(contract.label.delay)
        self._absent_is_negative = contract.label.absent_means == "negative"

    def of(self, rows: Sequence[Decided]) -> list[Known | str]:
        """Return each row's label, or why it has none."""
        names = (name for row in rows for name in row.names)
        reported = self._book.outcomes_at(self._contract.name, names, self._as_of)
        return [self._of_row(row, reported) for row in rows]

    def _of_row(self, row: Decided, reported: dict[str, Outcome]) -> Known | str:
        found = [reported[name] for name in row.names if name in reported]
        if found:
            last = max(found, key=lambda outcome: (outcome.reported_at, outcome.label))
            return Known(last.label, moment_of(last.reported_at))
        if row.is_declined:
            return DECLINED
        if row.moment + self._delay > self._as_of:
            return IMMATURE
        return Known(0, None) if self._absent_is_negative else UNLABELLED


def label_values(contract: Contract) -> tuple[LabelValue, LabelValue]:
    """Return how a contract writes the negative label, and the positive one.

    It names the positive value alone. The other is what its expectations leave, or the opposite of
    a truth value or number, or for text ``not`` and the positive value.
    """
    positive = contract.label.positive
    rule = contract.expectations.columns.get(contract.label.column)
    others = [value for value in (rule and rule.values) or () if value != positive]
    if len(others) == 1:
        return others[0], positive
    if isinstance(positive, bool):
        return not positive, positive
    if isinstance(positive, str):
        return f"not {positive}", positive
    return (0 if positive else 1), positive

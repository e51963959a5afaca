"""Labels as they are reported, what is kept of them, and what became of a batch of them."""

from dataclasses import dataclass
from typing import Self

from features.online.events import LabelReport
from features.online.state import LabelCounts


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one row.

    Attributes:
        id: Of the row as the decision log names it: a pseudonym where ids are personal.
        label: 1 for the positive class, 0 for the other.
        reported_at: Microseconds since 1970-01-01 UTC.
        source: Who said so; None where nobody is named.
    """

    id: str
    label: int
    reported_at: int
    source: str | None = None


@dataclass(frozen=True, slots=True)
class ReportedLabel:
    """A label as it comes in.

    Attributes:
        id: Of the row, as whoever reports it names it.
        label: 1 for the positive class, 0 for the other.
        reported_at: Microseconds since 1970-01-01 UTC; when it came in, where it does not say.
        source: Who says so; None where nobody is named.
        is_dated: Whether it says when it became known.
    """

    id: str
    label: int
    reported_at: int
    source: str | None = None
    is_dated: bool = True

    @property
    def as_report(self) -> LabelReport:
        """The label as the online state takes it."""
        return LabelReport(self.id, self.label, self.reported_at)


@dataclass(frozen=True, slots=True)
class KeptReport:
    """One report of a row's history.

    Attributes:
        id: Of the row as the decision log names it.
        label: 1 for the positive class, 0 for the other.
        reported_at: Microseconds since 1970-01-01 UTC.
        source: Who said so; None where nobody is named.
        received_at: When it came in; None where that was not kept yet.
    """

    id: str
    label: int
    reported_at: int
    source: str | None
    received_at: int | None


@dataclass(frozen=True, slots=True)
class TakenLabels:
    """What became of reported labels; the first three add up to all of them.

    Attributes:
        accepted: They changed what is recorded.
        duplicates: The same report, or one that counts more, was recorded before.
        unknown: No event of that id is known; kept for when it arrives.
        contradictory: Of all of these, those that say another label than a report of the very
            same moment does; the positive one counts.
    """

    accepted: int
    duplicates: int
    unknown: int
    contradictory: int = 0

    @classmethod
    def of(cls, counts: LabelCounts, *, contradictory: int = 0) -> Self:
        """Return what the online state counted, which does not tell contradictions."""
        return cls(counts.accepted, counts.duplicates, counts.unknown, contradictory)

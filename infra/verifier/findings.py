"""What a verification found: the first broken link of each kind, and what it counted."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Broken:
    """A link that does not hold.

    Attributes:
        kind: ``ledger``, ``anchor``, ``group``, ``index``, ``retired``, ``bundle``, ``policy``,
            ``live``, ``key``, ``rule``, or ``archive``.
        where: Which entry, writer and group, decision or file.
        what: What is wrong with it.
    """

    kind: str
    where: str
    what: str

    def __str__(self) -> str:
        """One line."""
        return f"{self.kind}: {self.where}: {self.what}"


@dataclass
class Findings:
    """What was looked at, and what does not hold.

    Attributes:
        first: The first broken link of each kind.
        n_broken: How many of each kind.
        counts: What was checked.
        notes: What could not be checked, and what an unbroken chain cannot say.
    """

    first: dict[str, Broken] = field(default_factory=dict)
    n_broken: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def broken(self, kind: str, where: str, what: str) -> None:
        """Add a broken link."""
        self.first.setdefault(kind, Broken(kind, where, what))
        self.n_broken[kind] = self.n_broken.get(kind, 0) + 1

    def count(self, what: str, n: int = 1) -> None:
        """Count what was checked."""
        self.counts[what] = self.counts.get(what, 0) + n

    def note(self, text: str) -> None:
        """Add a note, once."""
        if text not in self.notes:
            self.notes.append(text)

    @property
    def holds(self) -> bool:
        """Whether nothing is broken."""
        return not self.first

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON values."""
        return {
            "holds": self.holds,
            "broken": [
                {"kind": each.kind, "where": each.where, "what": each.what,
                 "of_this_kind": self.n_broken[each.kind]}
                for each in self.first.values()
            ],
            "checked": self.counts,
            "notes": self.notes,
        }  # fmt: skip

    def lines(self) -> list[str]:
        """Return all of it for people."""
        checked = ", ".join(f"{n:,} {what}" for what, n in self.counts.items())
        broken = []
        for each in self.first.values():
            more = self.n_broken[each.kind] - 1
            broken.append(f"BROKEN {each}{f' (and {more:,} more of this kind)' if more else ''}")
        return [
            f"Checked {checked or 'nothing: there is no ledger, log or model here'}.",
            *broken,
            *(f"Note: {text}" for text in self.notes),
            "Every link holds." if self.holds else "Not everything is as it was written.",
        ]

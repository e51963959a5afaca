"""What happened in the simulated year, in order, as it is told on its page."""

from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias

Kind: TypeAlias = Literal[
    "trained", "new_fraud", "monitored", "promoted", "refused", "waits", "stopped", "rolled_back"
]
"""``waits``: the gate left a challenger to a person. ``stopped``: a retraining came to no version.
"""


@dataclass(frozen=True, slots=True)
class Happening:
    """One thing that happened.

    Attributes:
        at: When, in the simulated year.
        kind: What.
        says: The same in words.
        version: The version that it is about; None where it is about none.
        pages: Pages that show it, by what they are, relative to the folder of the year.
        facts: Figures that belong to it.
    """

    at: datetime
    kind: Kind
    says: str
    version: str | None = None
    pages: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self) | {"at": self.at.isoformat()}


@dataclass
class Timeline:
    """Everything that happened, as it happens."""

    happenings: list[Happening] = field(default_factory=list)

    def add(self, happening: Happening) -> None:
        """Note what has just happened."""
        self.happenings.append(happening)

    def of(self, *kinds: Kind) -> list[Happening]:
        """Return what happened of some kinds, in order."""
        return [each for each in self.happenings if each.kind in kinds]

    def live(self) -> list[tuple[datetime, str]]:
        """Return from when on which version answered, in order."""
        changes = self.of("trained", "promoted", "rolled_back")
        return [(each.at, each.version) for each in changes if each.version is not None]

    def live_at(self, moment: datetime) -> str:
        """Return the version that answered at a moment, after what was decided then."""
        return [version for since, version in self.live() if since <= moment][-1]

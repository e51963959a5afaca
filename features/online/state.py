"""Online state: the stored events of every entity, behind one protocol for every store.

A store keeps each event as long as a feature can look back to it, plus ``lateness``. Its clock is
the newest event time that it has applied; a row ahead of the real clock is refused before it can
move that clock and evict what others still need.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Protocol

from features.online.events import Event, LabelReport
from features.online.past import Past
from infra.errors import InputError, WhitecrowError

LATENESS = timedelta(days=1)
"""How long after the longest look-back an event may still arrive, by default."""

Clock = Callable[[], int]
"""Returns the present moment in microseconds since 1970-01-01 UTC."""


class Applied(Enum):
    """What became of an event that was handed in."""

    APPLIED = "applied"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    TOO_LATE = "too_late"


@dataclass(frozen=True, slots=True)
class LabelCounts:
    """What became of label reports.

    Attributes:
        accepted: They changed what is recorded.
        duplicates: The same report, or a later one, was recorded before.
        unknown: No event of that id is known; kept for when it arrives.
    """

    accepted: int
    duplicates: int
    unknown: int


@dataclass(frozen=True, slots=True)
class HotEntity:
    """An entity with far more events than most, whose rows cost more than most.

    Attributes:
        entity: Its columns.
        key: Its values as text; of a personal column, a hash.
        n_events: Events stored.
    """

    entity: tuple[str, ...]
    key: str
    n_events: int


@dataclass(frozen=True, slots=True)
class StateDescription:
    """What a state holds.

    Attributes:
        location: File or server, without credentials.
        contract: Name of the contract that the state was made for.
        state_key: The plan's key that it was made for.
        newest_event_time: Microseconds since 1970-01-01 UTC; None while empty.
        n_entities: Entities with stored events.
        n_events: Ids remembered.
        n_bytes: Bytes of disk or memory.
    """

    location: str
    contract: str
    state_key: str
    newest_event_time: int | None
    n_entities: int
    n_events: int
    n_bytes: int


class StateUnreachable(WhitecrowError):
    """Raised when a store does not answer: the server is gone, a file stays locked."""


class StateMismatch(InputError):
    """Raised when a state was made for another feature set."""


class ClockSkewRefused(InputError):
    """Raised for an event or a report further in the future than ``max_clock_skew``."""


class OnlineState(Protocol):
    """Stored events of one feature set. Every method raises ``StateUnreachable``.

    Implementations may be used from several threads.
    """

    @property
    def location(self) -> str:
        """File or server, without credentials."""
        ...

    def past(self, events: Sequence[Event]) -> list[Past]:
        """Return the past of each event, in one round trip.

        Events of the same call do not see each other (``features.online.overlay``).
        """
        ...

    def seen(self, events: Sequence[Event]) -> list[Applied | None]:
        """Return what applying each event would find: DUPLICATE, CONFLICT, or None for a new id."""
        ...

    def apply(self, events: Sequence[Event]) -> list[Applied]:
        """Store events, each once; when this returns they survive the end of the process.

        Returns:
            For each event, APPLIED; DUPLICATE where this id and content was applied before;
            CONFLICT where the id has other content (nothing is stored); TOO_LATE where no
            feature can look back to it any more (only its id is remembered).

        Raises:
            ClockSkewRefused: If any event lies too far in the future; nothing is stored.
        """
        ...

    def report_labels(self, reports: Sequence[LabelReport]) -> LabelCounts:
        """Record what became known; of several reports on an id the last ``reported_at`` counts.

        Raises:
            ClockSkewRefused: If any report lies too far in the future; nothing is recorded.
        """
        ...

    def load(
        self, events: Sequence[Event], reports: Sequence[LabelReport], progress: str
    ) -> list[Applied]:
        """Apply history and its labels, and record how far it got: all of it or nothing.

        Raises:
            ClockSkewRefused: If any of it lies too far in the future; nothing is stored.
        """
        ...

    def progress(self) -> str | None:
        """Return what the last :meth:`load` recorded; None where there was none."""
        ...

    def newest(self) -> int | None:
        """Return the newest event time applied, in microseconds; None while empty.

        It may lag behind another process by a few events.
        """
        ...

    def evict(self) -> int:
        """Drop all that no feature can look back to any more and return how many events went."""
        ...

    def forget_entity(self, column: str, value: str) -> int:
        """Drop all that is stored under a value, alone or in pairs; return how many keys went.

        Args:
            column: An entity of the contract.
            value: As text.
        """
        ...

    def hot_entities(self, n: int) -> list[HotEntity]:
        """Return the ``n`` entities with the most events among the hot ones, largest first."""
        ...

    def describe(self) -> StateDescription:
        """Return what the state holds; may read all of it."""
        ...

    def close(self) -> None:
        """Let go of files and connections; what was applied stays."""
        ...


@dataclass(frozen=True, slots=True)
class SkewGuard:
    """Refuses what lies further in the future than clocks may differ.

    Attributes:
        max_clock_skew: Microseconds.
        clock: The real clock.
    """

    max_clock_skew: int
    clock: Clock

    def check_events(self, events: Sequence[Event]) -> None:
        """Refuse events that lie too far ahead.

        Raises:
            ClockSkewRefused: If any does; names how far the furthest one is ahead.
        """
        self._check(max((event.event_time for event in events), default=None), "An event")

    def check_reports(self, reports: Sequence[LabelReport]) -> None:
        """Refuse reports that lie too far ahead.

        Raises:
            ClockSkewRefused: If any does; names how far the furthest one is ahead.
        """
        newest = max((report.reported_at for report in reports), default=None)
        self._check(newest, "A label report")

    def _check(self, newest: int | None, what: str) -> None:
        if newest is None:
            return
        ahead = newest - self.clock()
        if ahead > self.max_clock_skew:
            raise ClockSkewRefused(
                f"{what} lies {timedelta(microseconds=ahead)} in the future; "
                f"policy.max_clock_skew allows {timedelta(microseconds=self.max_clock_skew)}. "
                "Check the sender's clock and time zone."
            )


def system_clock() -> int:
    """Return the present moment in microseconds since 1970-01-01 UTC."""
    return time.time_ns() // 1_000


def mismatch(location: str, found: str, wanted: str) -> StateMismatch:
    """Return the error for a state that was made for another feature set."""
    return StateMismatch(
        f"The state {location} was made for feature set {found[:12]}, the model needs "
        f"{wanted[:12]}. Build one from history: whitecrow backfill DATA --contract C."
    )

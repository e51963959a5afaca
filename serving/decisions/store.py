"""What the decision log needs of a database: one protocol for SQLite and PostgreSQL."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from infra.errors import InputError, WhitecrowError
from serving.decisions.chain import ChainHead, Closed, Group
from serving.decisions.record import FeatureNames, StoredRecord


class LogUnreachable(WhitecrowError):
    """Raised when a database does not answer: gone, full, or locked by another process."""


class CommitInDoubt(LogUnreachable):
    """Raised when a database went away while it committed: nobody knows if it did."""


class LogMismatch(InputError):
    """Raised for a database that holds no decision log, a damaged one, or another secret's."""


@dataclass(frozen=True, slots=True)
class Claims:
    """Keys that decisions want to be known by; each 16 bytes of these belong to one decision.

    Attributes:
        keys: All different.
        contents: Of the rows.
        decision_ids: Theirs.
    """

    keys: bytes
    contents: bytes
    decision_ids: bytes


@dataclass(frozen=True, slots=True)
class Answered:
    """A decision that a key is known by already.

    Attributes:
        content: 16 bytes of the row.
        stored: The first decision.
    """

    content: bytes
    stored: StoredRecord


@dataclass(frozen=True, slots=True)
class Segment:
    """A day of the log.

    Attributes:
        name: ``YYYY-MM-DD``.
        n_groups: Group commits.
        n_records: Decisions.
    """

    name: str
    n_groups: int
    n_records: int


class LogTransaction(Protocol):
    """What is written at once: all of it, or nothing."""

    def claim(self, claims: Claims, *, now: int, until: int) -> dict[bytes, Answered]:
        """Take keys for decisions and return, by key, what was decided under it before.

        Args:
            claims: Of some decisions.
            now: Claims that ended before it (microseconds) count no more.
            until: When these will end.
        """
        ...

    def subject_keys(self, subjects: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return the wrapped keys of subjects, of those who have one."""
        ...

    def add_subject_keys(self, wrapped: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
        """Store keys and return those that now count: another process may have been first."""
        ...

    def n_destroyed(self) -> int:
        """Return how many keys were ever destroyed: a larger number makes known keys old."""
        ...

    def add_group(self, group: Group, decision_ids: bytes) -> None:
        """Store a group and where its decisions are found.

        Args:
            group: With its digest.
            decision_ids: 16 bytes of each decision, in their order.
        """
        ...

    def add_feature_names(self, feature_set_hash: str, names: FeatureNames) -> None:
        """Store what the columns of a feature set are called."""
        ...

    def mark_applied(self, state: str, writer_id: str, sequence: int) -> None:
        """Store that a state holds a writer's decisions up to this one."""
        ...

    def touch(self, now: int) -> None:
        """Write something of no meaning."""
        ...

    def forget_answered(self, now: int, most: int) -> None:
        """Drop keys that count no more."""
        ...


class DecisionStore(Protocol):
    """A decision log's database.

    Every method raises ``LogUnreachable``. :meth:`writing` is for one thread, the others for any.
    """

    @property
    def location(self) -> str:
        """File or server, without credentials."""
        ...

    @property
    def reads_are_local(self) -> bool:
        """Whether a look-up takes microseconds, fit for an event loop."""
        ...

    def writing(self) -> AbstractContextManager[LogTransaction]:
        """Yield a transaction, durable when the block ends well.

        Raises:
            CommitInDoubt: If the database went away during the commit.
        """
        ...

    def find_answered(self, keys: Sequence[bytes], now: int) -> dict[bytes, Answered]:
        """Return what was decided under keys that are not forgotten by ``now``."""
        ...

    def find_decision(self, decision_id: bytes) -> tuple[str, StoredRecord] | None:
        """Return a decision and its writer."""
        ...

    def has_group(self, writer_id: str, number: int) -> bool:
        """Return whether a group was committed."""
        ...

    def heads(self) -> list[ChainHead]:
        """Return where each writer's chain stands, by writer id."""
        ...

    def closed(self) -> list[Closed]:
        """Return what is left of retired segments."""
        ...

    def groups(
        self,
        *,
        after: Mapping[str, int] | None = None,
        first_segment: str | None = None,
        last_segment: str | None = None,
    ) -> Iterator[Group]:
        """Yield groups, each writer's in order.

        Args:
            after: Only of these writers, and only what holds later sequences.
            first_segment: Only from this day on.
            last_segment: Only up to this day.
        """
        ...

    def segments(self) -> list[Segment]:
        """Return the days of the log, the oldest first."""
        ...

    def retire(self, segment: str) -> None:
        """Drop a whole day; what its chains ended with stays."""
        ...

    def feature_names(self) -> dict[str, FeatureNames]:
        """Return what the columns of each feature set are called, by its hash."""
        ...

    def subject_keys(self, subjects: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return the wrapped keys of subjects, of those who have one."""
        ...

    def destroy_key(self, subject: bytes) -> bool:
        """Destroy the key of a subject for good; say whether there was one."""
        ...

    def applied(self, state: str) -> dict[str, int]:
        """Return up to which sequence a state holds each writer's decisions."""
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...

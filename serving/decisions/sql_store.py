"""The decision log in tables: what SQLite and PostgreSQL have in common."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import msgspec

from serving.decisions.chain import ChainHead, Closed, Group
from serving.decisions.record import FeatureNames, StoredRecord
from serving.decisions.sql_transaction import SqlTransaction
from serving.decisions.store import Answered, LogTransaction, Segment

_GROUP = (
    "SELECT writer_id, number, first_sequence, n_records, segment, committed_at, records, digest "
    "FROM log_group"
)
# One statement for all of them: a seek for each writer, and all at one moment.
_HEADS = (
    "SELECT g.writer_id, g.number, g.first_sequence + g.n_records - 1, g.digest FROM log_writer w "
    "JOIN log_group g ON g.writer_id = w.writer_id AND g.number = "
    "(SELECT max(number) FROM log_group WHERE writer_id = w.writer_id)"
)
_SEGMENTS = "SELECT segment, count(*), sum(n_records) FROM log_group GROUP BY segment ORDER BY 1"
_KEYS = "SELECT key, content, decision_id FROM log_answered WHERE until > ? AND key IN"
_KEYS_AT_ONCE = 500


class SqlStore(ABC):
    """A :class:`DecisionStore` in tables; see the two databases for how they are reached."""

    location: str
    reads_are_local: bool

    @abstractmethod
    def writing(self) -> AbstractContextManager[LogTransaction]:
        """Yield a durable transaction (:meth:`DecisionStore.writing`)."""

    @abstractmethod
    def amending(self) -> AbstractContextManager[SqlTransaction]:
        """Yield a transaction on a connection of its own, for any thread."""

    @abstractmethod
    def reading(self) -> AbstractContextManager[SqlTransaction]:
        """Yield what asks on a connection that nobody else uses meanwhile; it writes nothing."""

    @abstractmethod
    def tidy(self) -> None:
        """Leave nothing of what was deleted in the files."""

    @abstractmethod
    def close(self) -> None:
        """Let go of files and connections."""

    def find_answered(self, keys: Sequence[bytes], now: int) -> dict[bytes, Answered]:
        """Return what was decided under keys (:meth:`DecisionStore.find_answered`)."""
        answered: dict[bytes, Answered] = {}
        with self.reading() as transaction:
            for at in range(0, len(keys), _KEYS_AT_ONCE):
                part = keys[at : at + _KEYS_AT_ONCE]
                statement = f"{_KEYS} ({','.join('?' * len(part))})"
                for key, content, decision_id in transaction.ask(
                    statement, (now, *part)
                ).fetchall():
                    found = transaction.find_decision(bytes(decision_id))
                    if found is not None:
                        answered[bytes(key)] = Answered(bytes(content), found[1])
        return answered

    def find_decision(self, decision_id: bytes) -> tuple[str, StoredRecord] | None:
        """Return a decision and its writer (:meth:`DecisionStore.find_decision`)."""
        with self.reading() as transaction:
            return transaction.find_decision(decision_id)

    def has_group(self, writer_id: str, number: int) -> bool:
        """Return whether a group was committed (:meth:`DecisionStore.has_group`)."""
        statement = "SELECT 1 FROM log_group WHERE writer_id = ? AND number = ?"
        return bool(self._rows(statement, (writer_id, number)))

    def heads(self) -> list[ChainHead]:
        """Return where each chain stands (:meth:`DecisionStore.heads`)."""
        heads = {
            end.writer_id: ChainHead(end.writer_id, end.number, end.last_sequence, end.digest)
            for end in sorted(self.closed(), key=lambda end: end.number)
        }
        for writer_id, number, n_records, digest in self._rows(_HEADS):
            heads[writer_id] = ChainHead(writer_id, number, n_records, bytes(digest))
        return [heads[writer_id] for writer_id in sorted(heads)]

    def closed(self) -> list[Closed]:
        """Return what is left of retired segments (:meth:`DecisionStore.closed`)."""
        statement = "SELECT writer_id, segment, number, last_sequence, digest FROM log_closed"
        return [
            Closed(writer_id, segment, number, last, bytes(digest))
            for writer_id, segment, number, last, digest in self._rows(statement)
        ]

    def groups(
        self,
        *,
        after: Mapping[str, int] | None = None,
        first_segment: str | None = None,
        last_segment: str | None = None,
    ) -> Iterator[Group]:
        """Yield groups, each writer's in order (:meth:`DecisionStore.groups`)."""
        heads = {head.writer_id: head.number for head in self.heads()}
        for writer_id, last in sorted(heads.items()):
            if after is not None and writer_id not in after:
                continue
            begin = 0 if after is None else self._number_after(writer_id, after[writer_id])
            yield from self._groups_of(
                writer_id, begin, last, first_segment or "", last_segment or "~"
            )

    def segments(self) -> list[Segment]:
        """Return the days of the log (:meth:`DecisionStore.segments`)."""
        return [Segment(name, n, int(total)) for name, n, total in self._rows(_SEGMENTS)]

    def retire(self, segment: str) -> None:
        """Drop a whole day (:meth:`DecisionStore.retire`)."""
        # A transaction each: the service writes in between. What is left after a crash still
        # verifies, and goes the next time.
        for group in self.groups(first_segment=segment, last_segment=segment):
            with self.amending() as transaction:
                transaction.retire(group)
        self.tidy()

    def feature_names(self) -> dict[str, FeatureNames]:
        """Return feature names by hash (:meth:`DecisionStore.feature_names`)."""
        rows = self._rows("SELECT hash, names FROM log_feature_set")
        return {name: msgspec.json.decode(text, type=FeatureNames) for name, text in rows}

    def subject_keys(self, subjects: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return wrapped keys (:meth:`DecisionStore.subject_keys`)."""
        if not subjects:
            return {}
        with self.reading() as transaction:
            return transaction.subject_keys(sorted(set(subjects)))

    def destroy_key(self, subject: bytes) -> bool:
        """Destroy a key for good (:meth:`DecisionStore.destroy_key`)."""
        with self.amending() as transaction:
            was_there = transaction.destroy_key(subject)
        self.tidy()
        return was_there

    def applied(self, state: str) -> dict[str, int]:
        """Return how far a state is (:meth:`DecisionStore.applied`)."""
        statement = "SELECT writer_id, sequence FROM log_applied WHERE state = ?"
        return dict(self._rows(statement, (state,)))

    def _rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[Any]:
        with self.reading() as transaction:
            rows: list[Any] = transaction.ask(statement, parameters).fetchall()
            return rows

    def _number_after(self, writer_id: str, sequence: int) -> int:
        """Return the number of the first group that holds a later sequence, less one."""
        statement = (
            "SELECT coalesce(max(number), 0) FROM log_group WHERE writer_id = ? AND "
            "first_sequence + n_records - 1 <= ?"
        )
        number: int = self._rows(statement, (writer_id, sequence))[0][0]
        return number

    def _groups_of(
        self, writer_id: str, begin: int, last: int, first_segment: str, last_segment: str
    ) -> Iterator[Group]:
        # A few at a time: no snapshot is held open while the caller works.
        statement = (
            f"{_GROUP} WHERE writer_id = ? AND number > ? AND number <= ? "
            "AND segment >= ? AND segment <= ? ORDER BY number LIMIT 64"
        )
        while True:
            bounds = (writer_id, begin, last, first_segment, last_segment)
            rows = self._rows(statement, bounds)
            for row in rows:
                yield _group(row)
            if not rows:
                return
            begin = rows[-1][1]


def _group(row: Sequence[Any]) -> Group:
    writer_id, number, first_sequence, n_records, segment, committed_at, records, digest = row
    return Group(
        writer_id,
        number,
        first_sequence,
        n_records,
        segment,
        committed_at,
        bytes(records),
        bytes(digest),
    )

"""The decision log in tables: what SQLite and PostgreSQL have in common.

A group's records are one value of one row: they are written with a handful of statements, however
many there are, and what the digest covers is what lies there. Two narrow tables say where a
decision is and what a key was answered with; both can be made again from the groups.
"""

import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import msgspec

from serving.decisions.chain import ChainHead, Closed, Group, decode_records
from serving.decisions.record import FeatureNames, StoredRecord
from serving.decisions.store import Answered, Claim, LogTransaction, Segment

FORMAT = "1"

# {blob} and {integer} are the types of bytes and of 64-bit numbers.
_TABLES = """
CREATE TABLE IF NOT EXISTS log_about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS log_writer (writer_id TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS log_group (
    writer_id TEXT NOT NULL, number {integer} NOT NULL, first_sequence {integer} NOT NULL,
    n_records {integer} NOT NULL, segment TEXT NOT NULL, committed_at {integer} NOT NULL,
    records {blob} NOT NULL, digest {blob} NOT NULL, PRIMARY KEY (writer_id, number));
CREATE INDEX IF NOT EXISTS log_group_segment ON log_group (segment);
CREATE TABLE IF NOT EXISTS log_decision (
    decision_id {blob} PRIMARY KEY, writer_id TEXT NOT NULL, number {integer} NOT NULL,
    place {integer} NOT NULL){narrow};
CREATE TABLE IF NOT EXISTS log_answered (
    key {blob} PRIMARY KEY, content {blob} NOT NULL, decision_id {blob} NOT NULL,
    until {integer} NOT NULL){narrow};
CREATE INDEX IF NOT EXISTS log_answered_until ON log_answered (until);
CREATE TABLE IF NOT EXISTS log_subject_key (subject {blob} PRIMARY KEY, wrapped {blob} NOT NULL);
CREATE TABLE IF NOT EXISTS log_feature_set (hash TEXT PRIMARY KEY, names TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS log_applied (
    state TEXT NOT NULL, writer_id TEXT NOT NULL, sequence {integer} NOT NULL,
    PRIMARY KEY (state, writer_id));
CREATE TABLE IF NOT EXISTS log_closed (
    writer_id TEXT NOT NULL, segment TEXT NOT NULL, number {integer} NOT NULL,
    last_sequence {integer} NOT NULL, digest {blob} NOT NULL, PRIMARY KEY (writer_id, segment));
"""
_GROUP = (
    "SELECT writer_id, number, first_sequence, n_records, segment, committed_at, records, digest "
    "FROM log_group"
)
_FIND = (
    "SELECT d.writer_id, d.place, g.records FROM log_decision d "
    "JOIN log_group g ON g.writer_id = d.writer_id AND g.number = d.number WHERE d.decision_id = ?"
)
_KEY = "SELECT content, decision_id FROM log_answered WHERE key = ? AND until > ?"
_HEAD = (
    "SELECT number, first_sequence + n_records - 1, digest FROM log_group WHERE writer_id = ? "
    "ORDER BY number DESC LIMIT 1"
)
_SEGMENTS = "SELECT segment, count(*), sum(n_records) FROM log_group GROUP BY segment ORDER BY 1"
_CLOSE = (
    "INSERT INTO log_closed VALUES (?, ?, ?, ?, ?) ON CONFLICT (writer_id, segment) DO UPDATE SET "
    "number = excluded.number, last_sequence = excluded.last_sequence, digest = excluded.digest"
)
_MARK = (
    "INSERT INTO log_applied VALUES (?, ?, ?) ON CONFLICT (state, writer_id) "
    "DO UPDATE SET sequence = excluded.sequence WHERE log_applied.sequence < excluded.sequence"
)
_COUNT_DESTROYED = (
    "INSERT INTO log_about VALUES ('n_destroyed', '1') ON CONFLICT (name) "
    "DO UPDATE SET value = CAST(CAST(log_about.value AS INTEGER) + 1 AS TEXT)"
)
_FORGET = (
    "DELETE FROM log_answered WHERE key IN "
    "(SELECT key FROM log_answered WHERE until <= ? ORDER BY until LIMIT ?)"
)
_UNINDEX = "DELETE FROM log_decision WHERE decision_id = ?"
_UNANSWER = "DELETE FROM log_answered WHERE key = ? AND decision_id = ?"


class Connection(Protocol):
    """What ``sqlite3`` and ``psycopg`` connections have in common."""

    def execute(self, statement: str, parameters: Sequence[Any] = (), /) -> Any:
        """Run one statement and return its cursor."""
        ...


class Dialect(Protocol):
    """What the two databases say differently."""

    blob: str
    integer: str
    narrow: str

    def spelled(self, statement: str) -> str:
        """Return a statement with the database's own marks for parameters."""
        ...

    def take_keys(
        self, connection: Connection, claims: Sequence[Claim], now: int, until: int
    ) -> None:
        """Insert claims whose key is free, or ended before ``now``."""
        ...

    def lost_keys(
        self, connection: Connection, claims: Sequence[Claim]
    ) -> list[tuple[bytes, bytes, bytes]]:
        """Return key, content and decision of the claims that others hold."""
        ...

    def add_decisions(
        self, connection: Connection, group: Group, decision_ids: Sequence[bytes]
    ) -> None:
        """Insert where each decision of a group is found."""
        ...

    def known_subjects(
        self, connection: Connection, subjects: Sequence[bytes]
    ) -> list[tuple[bytes, bytes]]:
        """Return subject and wrapped key of those that have one."""
        ...


def tables(dialect: Dialect) -> list[str]:
    """Return the statements that make the tables."""
    script = _TABLES.format(blob=dialect.blob, integer=dialect.integer, narrow=dialect.narrow)
    return [part.strip() for part in script.split(";") if part.strip()]


class SqlTransaction:
    """A :class:`LogTransaction` on a connection that has begun one."""

    def __init__(self, connection: Connection, dialect: Dialect) -> None:
        self._connection = connection
        self._dialect = dialect

    def claim(self, claims: Sequence[Claim], *, now: int, until: int) -> dict[bytes, Answered]:
        """Take keys for decisions (:meth:`LogTransaction.claim`)."""
        if not claims:
            return {}
        # In one order everywhere: two processes never wait for each other's keys in a circle.
        ordered = sorted(claims, key=lambda claim: claim.key)
        self._dialect.take_keys(self._connection, ordered, now, until)
        taken = {}
        for key, content, decision_id in self._dialect.lost_keys(self._connection, ordered):
            found = find_decision(self.ask, bytes(decision_id))
            assert found is not None, "a key goes with its decision"
            taken[bytes(key)] = Answered(bytes(content), found[1])
        return taken

    def subject_keys(self, subjects: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return wrapped keys (:meth:`LogTransaction.subject_keys`)."""
        found = self._dialect.known_subjects(self._connection, subjects)
        return {bytes(subject): bytes(wrapped) for subject, wrapped in found}

    def add_subject_keys(self, wrapped: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
        """Store keys (:meth:`LogTransaction.add_subject_keys`)."""
        statement = "INSERT INTO log_subject_key VALUES (?, ?) ON CONFLICT DO NOTHING"
        for row in sorted(wrapped.items()):
            self.ask(statement, row)
        return self.subject_keys(list(wrapped))

    def n_destroyed(self) -> int:
        """Return how many keys were ever destroyed (:meth:`LogTransaction.n_destroyed`)."""
        row = self.ask("SELECT value FROM log_about WHERE name = 'n_destroyed'").fetchone()
        return int(row[0]) if row else 0

    def add_group(self, group: Group, decision_ids: Sequence[bytes]) -> None:
        """Store a group (:meth:`LogTransaction.add_group`)."""
        if group.number == 1:
            self.ask("INSERT INTO log_writer VALUES (?)", (group.writer_id,))
        values = msgspec.structs.astuple(group)
        self.ask("INSERT INTO log_group VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
        self._dialect.add_decisions(self._connection, group, decision_ids)

    def add_feature_names(self, feature_set_hash: str, names: FeatureNames) -> None:
        """Store feature names (:meth:`LogTransaction.add_feature_names`)."""
        statement = "INSERT INTO log_feature_set VALUES (?, ?) ON CONFLICT DO NOTHING"
        self.ask(statement, (feature_set_hash, msgspec.json.encode(names).decode()))

    def mark_applied(self, state: str, writer_id: str, sequence: int) -> None:
        """Store how far a state is (:meth:`LogTransaction.mark_applied`)."""
        self.ask(_MARK, (state, writer_id, sequence))

    def forget_answered(self, now: int, most: int) -> None:
        """Drop keys that count no more (:meth:`LogTransaction.forget_answered`)."""
        self.ask(_FORGET, (now, most))

    def retire(self, group: Group) -> None:
        """Drop a group and what finds its decisions; what its chain ended with stays."""
        for record in group.decoded():
            decision_id = uuid.UUID(record.decision_id).bytes
            self.ask(_UNINDEX, (decision_id,))
            if record.key is not None:
                self.ask(_UNANSWER, (record.key, decision_id))
        last = group.first_sequence + group.n_records - 1
        self.ask(_CLOSE, (group.writer_id, group.segment, group.number, last, group.digest))
        place = (group.writer_id, group.number)
        self.ask("DELETE FROM log_group WHERE writer_id = ? AND number = ?", place)

    def destroy_key(self, subject: bytes) -> bool:
        """Drop a subject's key."""
        gone = self.ask("DELETE FROM log_subject_key WHERE subject = ?", (subject,)).rowcount
        if gone:
            self.ask(_COUNT_DESTROYED)
        return bool(gone)

    def ask(self, statement: str, parameters: Sequence[Any] = ()) -> Any:
        """Run one statement, written with ``?``."""
        return self._connection.execute(self._dialect.spelled(statement), parameters)


Ask = Callable[..., Any]


def find_decision(ask: Ask, decision_id: bytes) -> tuple[str, StoredRecord] | None:
    """Return a decision and its writer."""
    row = ask(_FIND, (decision_id,)).fetchone()
    if row is None:
        return None
    writer_id, place, records = row
    return writer_id, decode_records(bytes(records))[place]


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
    def reading(self) -> AbstractContextManager[Ask]:
        """Yield a function that runs one statement, on a connection for this thread."""

    @abstractmethod
    def tidy(self) -> None:
        """Leave nothing of what was deleted in the files."""

    @abstractmethod
    def close(self) -> None:
        """Let go of files and connections."""

    def find_answered(self, key: bytes, now: int) -> Answered | None:
        """Return what was decided under a key (:meth:`DecisionStore.find_answered`)."""
        with self.reading() as ask:
            row = ask(_KEY, (key, now)).fetchone()
            found = None if row is None else find_decision(ask, bytes(row[1]))
            return None if found is None else Answered(bytes(row[0]), found[1])

    def find_decision(self, decision_id: bytes) -> tuple[str, StoredRecord] | None:
        """Return a decision and its writer (:meth:`DecisionStore.find_decision`)."""
        with self.reading() as ask:
            return find_decision(ask, decision_id)

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
        for (writer_id,) in self._rows("SELECT writer_id FROM log_writer"):
            for number, n_records, digest in self._rows(_HEAD, (writer_id,)):
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

    def subject_key(self, subject: bytes) -> bytes | None:
        """Return a wrapped key (:meth:`DecisionStore.subject_key`)."""
        rows = self._rows("SELECT wrapped FROM log_subject_key WHERE subject = ?", (subject,))
        return bytes(rows[0][0]) if rows else None

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
        with self.reading() as ask:
            rows: list[Any] = ask(statement, parameters).fetchall()
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

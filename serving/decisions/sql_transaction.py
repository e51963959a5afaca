"""The tables of the decision log, and what one transaction does to them in either database.

A group's records are one value of one row: they are written with a handful of statements, however
many there are, and what the digest covers is what lies there. Two narrow tables say where a
decision is and what a key was answered with; both can be made again from the groups.
"""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from serving.decisions.chain import Group
from serving.decisions.group_bytes import unpack_some
from serving.decisions.record import FeatureNames, StoredRecord
from serving.decisions.sealing import DIGEST_BYTES, WRAPPED_BYTES
from serving.decisions.store import Answered, Claims, LogMismatch

FORMAT = "2"

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
_FIND = (
    "SELECT d.writer_id, d.place, g.records FROM log_decision d "
    "JOIN log_group g ON g.writer_id = d.writer_id AND g.number = d.number WHERE d.decision_id = ?"
)
_RECORDS = "SELECT records FROM log_group WHERE writer_id = ? AND number = ?"
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
_TOUCH = (
    "INSERT INTO log_about VALUES ('touched', ?) ON CONFLICT (name) "
    "DO UPDATE SET value = excluded.value"
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

    def take_keys(self, connection: Connection, claims: Claims, now: int, until: int) -> int:
        """Insert claims whose key is free, or ended before ``now``; return how many those were."""
        ...

    def lost_keys(
        self, connection: Connection, claims: Claims
    ) -> list[tuple[bytes, bytes, str, int, int]]:
        """Return key, content, writer, group and place of what others hold of the claims."""
        ...

    def add_decisions(self, connection: Connection, group: Group, decision_ids: bytes) -> None:
        """Insert where each decision of a group is found."""
        ...

    def known_subjects(self, connection: Connection, subjects: bytes) -> list[tuple[bytes, bytes]]:
        """Return subject and wrapped key of those that have one; each is 16 bytes."""
        ...

    def add_subjects(self, connection: Connection, subjects: bytes, wrapped: bytes) -> None:
        """Insert wrapped keys of those that have none; each is ``WRAPPED_BYTES``."""
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

    def claim(self, claims: Claims, *, now: int, until: int) -> dict[bytes, Answered]:
        """Take keys for decisions (:meth:`LogTransaction.claim`)."""
        n_taken = self._dialect.take_keys(self._connection, claims, now, until)
        if n_taken == len(claims.keys) // DIGEST_BYTES:
            return {}
        taken = {}
        by_group: dict[tuple[str, int], list[tuple[int, bytes, bytes]]] = {}
        lost = self._dialect.lost_keys(self._connection, claims)
        for key, content, writer_id, number, place in lost:
            assert writer_id is not None, "a key goes with its decision"
            in_group = by_group.setdefault((writer_id, number), [])
            in_group.append((place, bytes(key), bytes(content)))
        for group, found in by_group.items():
            records = bytes(self.ask(_RECORDS, group).fetchone()[0])
            stored = unpack_some(records, [place for place, _, _ in found])
            for (_, key, content), record in zip(found, stored, strict=True):
                taken[key] = Answered(content, record)
        return taken

    def subject_keys(self, subjects: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return wrapped keys (:meth:`LogTransaction.subject_keys`)."""
        found = self._dialect.known_subjects(self._connection, b"".join(subjects))
        return {bytes(subject): bytes(wrapped) for subject, wrapped in found}

    def add_subject_keys(self, wrapped: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
        """Store keys (:meth:`LogTransaction.add_subject_keys`)."""
        subjects, keys = b"".join(wrapped), b"".join(wrapped.values())
        assert len(keys) * DIGEST_BYTES == len(subjects) * WRAPPED_BYTES, "keys have one size"
        self._dialect.add_subjects(self._connection, subjects, keys)
        return self.subject_keys(list(wrapped))

    def n_destroyed(self) -> int:
        """Return how many keys were ever destroyed (:meth:`LogTransaction.n_destroyed`)."""
        row = self.ask("SELECT value FROM log_about WHERE name = 'n_destroyed'").fetchone()
        return int(row[0]) if row else 0

    def add_group(self, group: Group, decision_ids: bytes) -> None:
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

    def touch(self, now: int) -> None:
        """Write something of no meaning (:meth:`LogTransaction.touch`)."""
        self.ask(_TOUCH, (str(now),))

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

    def find_decision(self, decision_id: bytes) -> tuple[str, StoredRecord] | None:
        """Return a decision and its writer."""
        row = self.ask(_FIND, (decision_id,)).fetchone()
        if row is None:
            return None
        writer_id, place, records = row
        return writer_id, unpack_some(bytes(records), [place])[0]

    def ask(self, statement: str, parameters: Sequence[Any] = ()) -> Any:
        """Run one statement, written with ``?``."""
        return self._connection.execute(self._dialect.spelled(statement), parameters)


def check_about(transaction: SqlTransaction, fingerprint: str, location: str) -> None:
    """Say what a new log was made by, or check that an old one was made by the same.

    Raises:
        LogMismatch: If another release or another secret made it.
    """
    for row in (("format", FORMAT), ("secret", fingerprint)):
        transaction.ask("INSERT INTO log_about VALUES (?, ?) ON CONFLICT DO NOTHING", row)
    about = dict(transaction.ask("SELECT name, value FROM log_about").fetchall())
    if about["format"] != FORMAT:
        raise LogMismatch(
            f"The decision log {location} has format {about['format']}, this release writes "
            f"{FORMAT}. Name another one: WHITECROW_LOG_URI."
        )
    if about["secret"] != fingerprint:
        raise LogMismatch(
            f"The decision log {location} is sealed by another secret. Restore keys/decisions.key "
            "from a backup (or set WHITECROW_LOG_SECRET), or name another log: WHITECROW_LOG_URI."
        )

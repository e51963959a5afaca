"""The decision log in a SQLite file, for the workers of one machine."""

import contextlib
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from infra.checkpointing import Checkpointer
from infra.database import transaction
from serving.decisions.chain import Group
from serving.decisions.sealing import DIGEST_BYTES, WRAPPED_BYTES
from serving.decisions.sql_store import SqlStore
from serving.decisions.sql_transaction import Connection, SqlTransaction, check_about, tables
from serving.decisions.store import Claims, LogMismatch, LogUnreachable

BUSY_SECONDS = 0.4
"""How long a writer waits for another one; an answer must leave within the service's deadline."""

_AMENDING_SECONDS = 30.0
_CHECKPOINT_EVERY_SECONDS = 1.0
# "whtc": marks the file as ours among all SQLite files.
_APPLICATION_ID = 0x77687463
_DAMAGED = ("malformed", "not a database", "corrupt")

# Many rows in one statement each: parameters are packed, and taken apart where no other thread
# of the process has to wait for it.
_TAKE = """
INSERT INTO log_answered SELECT substr(?1, 16 * value + 1, 16), substr(?2, 16 * value + 1, 16),
substr(?3, 16 * value + 1, 16), ?4 FROM json_each(?5) WHERE true ORDER BY 1
ON CONFLICT (key) DO UPDATE SET content = excluded.content, decision_id = excluded.decision_id,
until = excluded.until WHERE log_answered.until <= ?6
"""
_LOST = """
SELECT a.key, a.content, d.writer_id, d.number, d.place FROM json_each(?1)
JOIN log_answered a ON a.key = substr(?2, 16 * value + 1, 16)
LEFT JOIN log_decision d ON d.decision_id = a.decision_id
WHERE a.decision_id <> substr(?3, 16 * value + 1, 16)
"""
_ADD = """
INSERT INTO log_decision SELECT substr(?1, 16 * value + 1, 16), ?2, ?3, value FROM json_each(?4)
"""
_SUBJECTS = """
SELECT k.subject, k.wrapped FROM json_each(?1) JOIN log_subject_key k
ON k.subject = substr(?2, 16 * value + 1, 16)
"""
_ADD_SUBJECTS = """
INSERT INTO log_subject_key SELECT substr(?1, 16 * value + 1, 16), substr(?2, ?3 * value + 1, ?3)
FROM json_each(?4) WHERE true ON CONFLICT DO NOTHING
"""


class SqliteDialect:
    """How SQLite says what the two databases say differently."""

    blob = "BLOB"
    integer = "INTEGER"
    narrow = " WITHOUT ROWID"

    def spelled(self, statement: str) -> str:
        """Return the statement as it is."""
        return statement

    def take_keys(self, connection: Connection, claims: Claims, now: int, until: int) -> int:
        """Insert free keys (:meth:`Dialect.take_keys`)."""
        columns = (claims.keys, claims.contents, claims.decision_ids)
        taken = connection.execute(_TAKE, (*columns, until, _places_of(claims.keys), now))
        n_taken: int = taken.rowcount
        return n_taken

    def lost_keys(
        self, connection: Connection, claims: Claims
    ) -> list[tuple[bytes, bytes, str, int, int]]:
        """Return the claims that others hold (:meth:`Dialect.lost_keys`)."""
        parameters = (_places_of(claims.keys), claims.keys, claims.decision_ids)
        found: list[tuple[bytes, bytes, str, int, int]] = connection.execute(
            _LOST, parameters
        ).fetchall()
        return found

    def add_decisions(self, connection: Connection, group: Group, decision_ids: bytes) -> None:
        """Insert where decisions are found (:meth:`Dialect.add_decisions`)."""
        places = _places_of(decision_ids)
        connection.execute(_ADD, (decision_ids, group.writer_id, group.number, places))

    def known_subjects(self, connection: Connection, subjects: bytes) -> list[tuple[bytes, bytes]]:
        """Return those that have a key (:meth:`Dialect.known_subjects`)."""
        found: list[tuple[bytes, bytes]] = connection.execute(
            _SUBJECTS, (_places_of(subjects), subjects)
        ).fetchall()
        return found

    def add_subjects(self, connection: Connection, subjects: bytes, wrapped: bytes) -> None:
        """Insert new keys (:meth:`Dialect.add_subjects`)."""
        parameters = (subjects, wrapped, WRAPPED_BYTES, _places_of(subjects))
        connection.execute(_ADD_SUBJECTS, parameters)


_DIALECT = SqliteDialect()


class SqliteStore(SqlStore):
    """A :class:`DecisionStore` in one file.

    Args:
        path: The file; made where there is none, with its folder.
        fingerprint: Of the secret that seals what it holds.
        busy_seconds: How long to wait for another process that writes.

    Raises:
        LogMismatch: If the file is something else, damaged, or sealed by another secret.
        LogUnreachable: If it cannot be used now.
    """

    reads_are_local = True

    def __init__(self, path: Path, fingerprint: str, *, busy_seconds: float = BUSY_SECONDS) -> None:
        self._path = path
        self.location = str(path)
        self._readers = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self._opening = threading.Lock()
        self._writing = threading.Lock()
        self._checkpointer = Checkpointer(path, self._writing)
        self._checkpoint_at = 0.0
        with self._reachable():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = self._connect(busy_seconds)
            self._claim(fingerprint)
            # Keys fall all over the file: a commit that also copied the log into it made those
            # behind it wait for tens of milliseconds, several times a second.
            self._writer.execute("PRAGMA wal_autocheckpoint = 0")

    @contextmanager
    def writing(self) -> Iterator[SqlTransaction]:
        """Yield a durable transaction (:meth:`DecisionStore.writing`)."""
        with self._writing, self._reachable(), _committed(self._writer) as transaction:
            yield transaction
        now = time.monotonic()
        if now >= self._checkpoint_at:
            self._checkpoint_at = now + _CHECKPOINT_EVERY_SECONDS
            self._checkpointer.request()

    @contextmanager
    def amending(self) -> Iterator[SqlTransaction]:
        """Yield a transaction on a connection of its own; what it deletes is overwritten."""
        with self._reachable(), contextlib.closing(self._connect(_AMENDING_SECONDS)) as connection:
            connection.execute("PRAGMA secure_delete = ON")
            with _committed(connection) as transaction:
                yield transaction

    def tidy(self) -> None:
        """Leave nothing of what was deleted in the file, nor in the log that goes before it."""
        with self._reachable(), contextlib.closing(self._connect(_AMENDING_SECONDS)) as connection:
            connection.execute("PRAGMA incremental_vacuum").fetchall()
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    @contextmanager
    def reading(self) -> Iterator[SqlTransaction]:
        """Yield what asks on this thread's read-only connection."""
        with self._reachable():
            reader: SqlTransaction | None = getattr(self._readers, "reader", None)
            yield reader or self._new_reader()

    def close(self) -> None:
        """Let go of the file."""
        self._checkpointer.close()
        with self._opening:
            for connection in self._opened:
                connection.close()
            self._opened.clear()

    def _new_reader(self) -> SqlTransaction:
        connection = self._connect(BUSY_SECONDS)
        connection.execute("PRAGMA query_only = ON")
        self._keep(connection)
        self._readers.reader = reader = SqlTransaction(connection, _DIALECT)
        return reader

    def _connect(self, busy_seconds: float) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=busy_seconds, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA synchronous = FULL")
        except BaseException:
            connection.close()
            raise
        return connection

    def _claim(self, fingerprint: str) -> None:
        """Make the tables of a new file, or check that they are ours."""
        connection = self._writer
        self._keep(connection)
        found = connection.execute("PRAGMA application_id").fetchone()[0]
        n_tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if not n_tables and found in (0, _APPLICATION_ID):
            # Before the first table: afterwards it would take effect at a VACUUM only.
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        elif found != _APPLICATION_ID:
            self.close()
            raise LogMismatch(
                f"{self._path} is a database, but no decision log. Move it away, or name another "
                "file: WHITECROW_LOG_URI."
            )
        connection.execute("PRAGMA journal_mode = WAL")
        with _committed(connection) as transaction:
            for statement in tables(_DIALECT):
                transaction.ask(statement)
            check_about(transaction, fingerprint, self.location)

    def _keep(self, connection: sqlite3.Connection) -> None:
        with self._opening:
            self._opened.append(connection)

    @contextmanager
    def _reachable(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._said(error) from error
        except OSError as error:
            raise LogUnreachable(
                f"Cannot use the decision log {self._path}: {error}. Make its folder writable and "
                "free some space, or set WHITECROW_LOG_URI."
            ) from error

    def _said(self, error: sqlite3.Error) -> Exception:
        """Return the one line for what SQLite said."""
        if any(word in str(error) for word in _DAMAGED):
            return LogMismatch(
                f"The decision log {self._path} is damaged or no database ({error}). Restore it "
                "from a backup, or move it away to begin another."
            )
        if "locked" in str(error) or "busy" in str(error):
            return LogUnreachable(
                f"The decision log {self._path} stays locked by another process. Stop what holds "
                "it open for writing, or use PostgreSQL (WHITECROW_LOG_URI)."
            )
        return LogUnreachable(
            f"Cannot use the decision log {self._path}: {error}. Make its folder writable and free "
            "some space, or set WHITECROW_LOG_URI."
        )


@contextmanager
def _committed(connection: sqlite3.Connection) -> Iterator[SqlTransaction]:
    with transaction(connection):
        yield SqlTransaction(connection, _DIALECT)


def _places_of(packed: bytes) -> str:
    """Return the places of what is packed, 16 bytes each, as a JSON array."""
    return _places(len(packed) // DIGEST_BYTES)


@lru_cache(64)
def _places(n: int) -> str:
    """Return 0, 1, ..., n - 1 as a JSON array."""
    return f"[{','.join(map(str, range(n)))}]"

"""The decision log in PostgreSQL, for workers of several machines. Needs the extra ``postgres``."""

import contextlib
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from infra.errors import InputError
from serving.decisions.chain import Group
from serving.decisions.sealing import WRAPPED_BYTES
from serving.decisions.sql_store import SqlStore
from serving.decisions.sql_transaction import Connection, SqlTransaction, check_about, tables
from serving.decisions.store import Claims, CommitInDoubt, LogUnreachable

if TYPE_CHECKING:
    import psycopg

_CONNECT_SECONDS = 2
# A statement of the service that waits longer than a deadline helps nobody.
_STATEMENT_MS = 800
_AMENDING_MS = 60_000
_SETTINGS = "-c synchronous_commit=on -c statement_timeout={statement_ms} -c lock_timeout={lock_ms}"
# Two services that start at once must not both make the tables.
_MAKING = "SELECT pg_advisory_xact_lock(8603451921)"

# Many rows in one statement each: parameters are packed, and taken apart by the server. In one
# order everywhere: two processes never wait for each other's keys in a circle.
_TAKE = """
INSERT INTO log_answered SELECT substring(p.keys FROM 16 * at + 1 FOR 16),
substring(p.contents FROM 16 * at + 1 FOR 16), substring(p.ids FROM 16 * at + 1 FOR 16), %s::bigint
FROM (SELECT %s::bytea, %s::bytea, %s::bytea) AS p (keys, contents, ids)
CROSS JOIN generate_series(0, length(p.keys) / 16 - 1) AS at ORDER BY 1
ON CONFLICT (key) DO UPDATE SET content = excluded.content, decision_id = excluded.decision_id,
until = excluded.until WHERE log_answered.until <= %s
"""
_LOST = """
SELECT a.key, a.content, d.writer_id, d.number, d.place
FROM (SELECT %s::bytea, %s::bytea) AS p (keys, ids)
CROSS JOIN generate_series(0, length(p.keys) / 16 - 1) AS at
JOIN log_answered a ON a.key = substring(p.keys FROM 16 * at + 1 FOR 16)
LEFT JOIN log_decision d ON d.decision_id = a.decision_id
WHERE a.decision_id <> substring(p.ids FROM 16 * at + 1 FOR 16)
"""
_ADD = """
INSERT INTO log_decision SELECT substring(p.ids FROM 16 * at + 1 FOR 16), %s::text, %s::bigint, at
FROM (SELECT %s::bytea) AS p (ids)
CROSS JOIN generate_series(0, length(p.ids) / 16 - 1) AS at
"""
_SUBJECTS = """
SELECT k.subject, k.wrapped FROM (SELECT %s::bytea) AS p (subjects)
CROSS JOIN generate_series(0, length(p.subjects) / 16 - 1) AS at
JOIN log_subject_key k ON k.subject = substring(p.subjects FROM 16 * at + 1 FOR 16)
"""
_ADD_SUBJECTS = """
INSERT INTO log_subject_key SELECT substring(p.subjects FROM 16 * at + 1 FOR 16),
substring(p.wrapped FROM p.size * at + 1 FOR p.size)
FROM (SELECT %s::bytea, %s::bytea, %s::integer) AS p (subjects, wrapped, size)
CROSS JOIN generate_series(0, length(p.subjects) / 16 - 1) AS at ORDER BY 1 ON CONFLICT DO NOTHING
"""


class PostgresDialect:
    """How PostgreSQL says what the two databases say differently."""

    blob = "BYTEA"
    integer = "BIGINT"
    narrow = ""

    def spelled(self, statement: str) -> str:
        """Return the statement with psycopg's marks for parameters."""
        return statement.replace("?", "%s")

    def take_keys(self, connection: Connection, claims: Claims, now: int, until: int) -> int:
        """Insert free keys (:meth:`Dialect.take_keys`)."""
        columns = (claims.keys, claims.contents, claims.decision_ids)
        n_taken: int = connection.execute(_TAKE, (until, *columns, now)).rowcount
        return n_taken

    def lost_keys(
        self, connection: Connection, claims: Claims
    ) -> list[tuple[bytes, bytes, str, int, int]]:
        """Return the claims that others hold (:meth:`Dialect.lost_keys`)."""
        found: list[tuple[bytes, bytes, str, int, int]] = connection.execute(
            _LOST, (claims.keys, claims.decision_ids)
        ).fetchall()
        return found

    def add_decisions(self, connection: Connection, group: Group, decision_ids: bytes) -> None:
        """Insert where decisions are found (:meth:`Dialect.add_decisions`)."""
        connection.execute(_ADD, (group.writer_id, group.number, decision_ids))

    def known_subjects(self, connection: Connection, subjects: bytes) -> list[tuple[bytes, bytes]]:
        """Return those that have a key (:meth:`Dialect.known_subjects`)."""
        found: list[tuple[bytes, bytes]] = connection.execute(_SUBJECTS, (subjects,)).fetchall()
        return found

    def add_subjects(self, connection: Connection, subjects: bytes, wrapped: bytes) -> None:
        """Insert new keys (:meth:`Dialect.add_subjects`)."""
        connection.execute(_ADD_SUBJECTS, (subjects, wrapped, WRAPPED_BYTES))


_DIALECT = PostgresDialect()


class PostgresStore(SqlStore):
    """A :class:`DecisionStore` on a server.

    Args:
        uri: ``postgresql://…``; ``?options=-csearch_path=NAME`` chooses a schema.
        fingerprint: Of the secret that seals what it holds.

    Raises:
        LogMismatch: If the tables were made by another release, or sealed by another secret.
        LogUnreachable: If the server does not answer.
        InputError: If the extra ``postgres`` is not installed.
    """

    reads_are_local = False

    def __init__(self, uri: str, fingerprint: str) -> None:
        try:
            import psycopg
        except ImportError:
            raise InputError(
                "A decision log on PostgreSQL needs the extra: pip install 'whitecrow[postgres]'."
            ) from None
        self._failed: type[Exception] = psycopg.Error
        self._psycopg = psycopg
        self._uri = uri
        parts = urlsplit(uri)
        port = f":{parts.port}" if parts.port else ""
        self.location = f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}"
        self._writer: psycopg.Connection[Any] | None = None
        # Both ends of a deque may be used by several threads at once.
        self._idle: deque[psycopg.Connection[Any]] = deque()
        with self.amending() as transaction:
            transaction.ask(_MAKING)
            for statement in tables(_DIALECT):
                transaction.ask(statement)
            check_about(transaction, fingerprint, self.location)

    @contextmanager
    def writing(self) -> Iterator[SqlTransaction]:
        """Yield a durable transaction (:meth:`DecisionStore.writing`)."""
        with self._reachable():
            if self._writer is None:
                self._writer = self._connect(_STATEMENT_MS)
            try:
                with self._committed(self._writer) as transaction:
                    yield transaction
            except (self._failed, CommitInDoubt):
                # What state it is in is not worth finding out.
                writer, self._writer = self._writer, None
                with contextlib.suppress(self._failed):
                    writer.close()
                raise

    @contextmanager
    def amending(self) -> Iterator[SqlTransaction]:
        """Yield a transaction on a connection of its own."""
        with (
            self._reachable(),
            contextlib.closing(self._connect(_AMENDING_MS)) as connection,
            self._committed(connection) as transaction,
        ):
            yield transaction

    def tidy(self) -> None:
        """Let the server overwrite what was deleted, as far as it does."""
        with self._reachable(), contextlib.closing(self._connect(_AMENDING_MS)) as connection:
            connection.autocommit = True
            connection.execute("VACUUM log_subject_key")

    @contextmanager
    def reading(self) -> Iterator[SqlTransaction]:
        """Yield what asks on a connection of this process that is not in use."""
        with self._reachable():
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = self._connect(_STATEMENT_MS)
                connection.autocommit = True
            try:
                yield SqlTransaction(connection, _DIALECT)
            except BaseException:
                # The others were lost with it, where the server was started anew.
                connection.close()
                self._close_idle()
                raise
            self._idle.append(connection)

    def close(self) -> None:
        """Let go of all connections."""
        self._close_idle()
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _close_idle(self) -> None:
        while self._idle:
            with contextlib.suppress(IndexError):
                self._idle.pop().close()

    def _connect(self, statement_ms: int) -> "psycopg.Connection[Any]":
        settings = _SETTINGS.format(statement_ms=statement_ms, lock_ms=statement_ms)
        given = self._psycopg.conninfo.conninfo_to_dict(self._uri).get("options")
        return self._psycopg.connect(
            self._uri,
            connect_timeout=_CONNECT_SECONDS,
            options=f"{given or ''} {settings}".strip(),
            application_name="whitecrow decision log",
        )

    @contextmanager
    def _committed(self, connection: "psycopg.Connection[Any]") -> Iterator[SqlTransaction]:
        try:
            yield SqlTransaction(connection, _DIALECT)
        except BaseException:
            with contextlib.suppress(self._failed):
                connection.rollback()
            raise
        try:
            connection.commit()
        except self._failed as error:
            raise CommitInDoubt(
                f"The decision log {self.location} went away while it committed: {_line(error)}."
            ) from error

    @contextmanager
    def _reachable(self) -> Iterator[None]:
        try:
            yield
        except self._failed as error:
            raise LogUnreachable(
                f"The decision log {self.location} does not answer: {_line(error)}. Start the "
                "server, or set WHITECROW_LOG_URI."
            ) from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__

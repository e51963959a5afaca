"""The decision log in PostgreSQL, for workers of several machines. Needs the extra ``postgres``."""

import contextlib
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from infra.errors import InputError
from serving.decisions.chain import Group
from serving.decisions.sql_store import SqlStore
from serving.decisions.sql_transaction import Connection, SqlTransaction, check_about, tables
from serving.decisions.store import Claim, CommitInDoubt, LogUnreachable

if TYPE_CHECKING:
    import psycopg

_CONNECT_SECONDS = 2
# A statement of the service that waits longer than a deadline helps nobody.
_STATEMENT_MS = 800
_AMENDING_MS = 60_000
_SETTINGS = "-c synchronous_commit=on -c statement_timeout={statement_ms} -c lock_timeout={lock_ms}"
# Two services that start at once must not both make the tables.
_MAKING = "SELECT pg_advisory_xact_lock(8603451921)"

_TAKE = """
INSERT INTO log_answered SELECT key, content, decision_id, %s
FROM unnest(%s::bytea[], %s::bytea[], %s::bytea[]) AS c (key, content, decision_id)
ON CONFLICT (key) DO UPDATE SET content = excluded.content, decision_id = excluded.decision_id,
until = excluded.until WHERE log_answered.until <= %s
"""
_LOST = """
SELECT a.key, a.content, a.decision_id FROM unnest(%s::bytea[], %s::bytea[]) AS c (key, decision_id)
JOIN log_answered a ON a.key = c.key WHERE a.decision_id <> c.decision_id
"""
_ADD = """
INSERT INTO log_decision SELECT decision_id, %s, %s, place - 1
FROM unnest(%s::bytea[]) WITH ORDINALITY AS d (decision_id, place)
"""
_SUBJECTS = "SELECT subject, wrapped FROM log_subject_key WHERE subject = ANY(%s::bytea[])"


class PostgresDialect:
    """How PostgreSQL says what the two databases say differently."""

    blob = "BYTEA"
    integer = "BIGINT"
    narrow = ""

    def spelled(self, statement: str) -> str:
        """Return the statement with psycopg's marks for parameters."""
        return statement.replace("?", "%s")

    def take_keys(
        self, connection: Connection, claims: Sequence[Claim], now: int, until: int
    ) -> None:
        """Insert free keys (:meth:`Dialect.take_keys`)."""
        keys, ids = [claim.key for claim in claims], [claim.decision_id for claim in claims]
        contents = [claim.content for claim in claims]
        connection.execute(_TAKE, (until, keys, contents, ids, now))

    def lost_keys(
        self, connection: Connection, claims: Sequence[Claim]
    ) -> list[tuple[bytes, bytes, bytes]]:
        """Return the claims that others hold (:meth:`Dialect.lost_keys`)."""
        keys, ids = [claim.key for claim in claims], [claim.decision_id for claim in claims]
        found: list[tuple[bytes, bytes, bytes]] = connection.execute(_LOST, (keys, ids)).fetchall()
        return found

    def add_decisions(
        self, connection: Connection, group: Group, decision_ids: Sequence[bytes]
    ) -> None:
        """Insert where decisions are found (:meth:`Dialect.add_decisions`)."""
        connection.execute(_ADD, (group.writer_id, group.number, list(decision_ids)))

    def known_subjects(
        self, connection: Connection, subjects: Sequence[bytes]
    ) -> list[tuple[bytes, bytes]]:
        """Return those that have a key (:meth:`Dialect.known_subjects`)."""
        found: list[tuple[bytes, bytes]] = connection.execute(
            _SUBJECTS, (list(subjects),)
        ).fetchall()
        return found


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

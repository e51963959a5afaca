"""Shadow decisions in a database: a SQLite file of their own, or a table in PostgreSQL.

Not in the file of the decision log: SQLite has one writer, and a challenger must never make an
answer wait. ``decision_id`` joins the two.
"""

import json
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.database import StateUnavailable, connect, is_server, transaction
from serving.shadow import ShadowDecision, ShadowLog

if TYPE_CHECKING:
    import psycopg

KEPT = timedelta(days=90)
"""What is older is dropped when a log is opened."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS shadow_decisions (
    decision_id TEXT NOT NULL,
    model TEXT NOT NULL,
    model_version TEXT NOT NULL,
    policy_version TEXT NOT NULL,
    logits TEXT NOT NULL,
    risk_score DOUBLE PRECISION NOT NULL,
    decision TEXT NOT NULL,
    scored_at BIGINT NOT NULL,
    PRIMARY KEY (decision_id, model_version, policy_version)
);
CREATE INDEX IF NOT EXISTS shadow_decisions_by_time ON shadow_decisions (scored_at);
"""
_INSERT = "INSERT INTO shadow_decisions VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
_FORGET = "DELETE FROM shadow_decisions WHERE scored_at < ?"
_SELECT = (
    "SELECT * FROM shadow_decisions "
    "WHERE model = ? AND model_version = ? AND policy_version = ? ORDER BY scored_at"
)


def open_shadow_log(path: Path, uri: str | None = None) -> ShadowLog:
    """Return the log in the PostgreSQL database of the decision log, or else in a file."""
    if is_server(uri):
        return PostgresShadowLog(uri)
    return SqliteShadowLog(path)


def read_shadow_decisions(
    path: Path, uri: str | None = None, *, model: str, model_version: str, policy_version: str
) -> dict[str, ShadowDecision]:
    """Return what one version said in the shadow, by decision id, the oldest first.

    Args:
        path: The file, read where ``uri`` names no server; nothing where there is none.
        uri: Of the decision log.
        model: Name of the model.
        model_version: Which version of it.
        policy_version: With which policy.

    Raises:
        StateUnavailable: If the log cannot be read.
    """
    wanted = (model, model_version, policy_version)
    rows = _from_server(uri, wanted) if is_server(uri) else _from_file(path, wanted)
    return {row[0]: _decision(row) for row in rows}


def _from_file(path: Path, wanted: tuple[str, str, str]) -> list[Any]:
    if not path.exists():
        return []
    with closing(connect(path, _SCHEMA)) as connection:
        try:
            return connection.execute(_SELECT, wanted).fetchall()
        except sqlite3.Error as error:
            raise StateUnavailable(f"Cannot read {path}: {error}.") from None


def _from_server(uri: str, wanted: tuple[str, str, str]) -> list[Any]:
    import psycopg

    try:
        with psycopg.connect(uri, connect_timeout=3) as connection:
            return connection.execute(_SELECT.replace("?", "%s").encode(), wanted).fetchall()
    except psycopg.errors.UndefinedTable:
        return []
    except psycopg.Error as error:
        first = str(error).strip().partition("\n")[0]
        raise StateUnavailable(f"Cannot read shadow decisions: {first}.") from None


class SqliteShadowLog:
    """Shadow decisions in a file; opened when the first one comes. Used by one thread.

    Args:
        path: The file, made where there is none.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None

    def record(self, decisions: Sequence[ShadowDecision]) -> None:
        """Keep decisions (:meth:`ShadowLog.record`)."""
        try:
            with transaction(self._opened()) as connection:
                connection.executemany(_INSERT, [_row(decision) for decision in decisions])
        except sqlite3.Error as error:
            raise StateUnavailable(f"Cannot write to {self._path}: {error}.") from None

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            self._connection.close()

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            connection = connect(self._path, _SCHEMA)
            # Lost with the machine's power at worst, never damaged; requests wait for the disk.
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(_FORGET, (_oldest_kept(),))
            self._connection = connection
        return self._connection


class PostgresShadowLog:
    """Shadow decisions in a PostgreSQL database; connects when one comes. Used by one thread.

    Args:
        uri: ``postgresql://…``.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._connection: psycopg.Connection[Any] | None = None

    def record(self, decisions: Sequence[ShadowDecision]) -> None:
        """Keep decisions (:meth:`ShadowLog.record`)."""
        import psycopg

        try:
            connection = self._opened()
            with connection.transaction(), connection.cursor() as cursor:
                cursor.executemany(
                    _INSERT.replace("?", "%s"), [_row(decision) for decision in decisions]
                )
        except psycopg.Error as error:
            self.close()
            first = str(error).strip().partition("\n")[0]
            raise StateUnavailable(f"Cannot write shadow decisions: {first}.") from None

    def close(self) -> None:
        """End the connection."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _opened(self) -> "psycopg.Connection[Any]":
        import psycopg

        if self._connection is None:
            # Committed by its transactions only; a connection of its own blocks no request.
            connection = psycopg.connect(self._uri, autocommit=True, connect_timeout=3)
            # Several processes start at the same time: one makes the table, the others wait.
            with connection.transaction():
                connection.execute("SELECT pg_advisory_xact_lock(hashtext('shadow_decisions'))")
                for statement in filter(str.strip, _SCHEMA.split(";")):
                    connection.execute(statement.encode())
                connection.execute(_FORGET.replace("?", "%s").encode(), (_oldest_kept(),))
            self._connection = connection
        return self._connection


def _row(decision: ShadowDecision) -> tuple[Any, ...]:
    return (
        decision.decision_id,
        decision.model,
        decision.model_version,
        decision.policy_version,
        json.dumps(decision.logits),
        decision.risk_score,
        decision.decision,
        decision.scored_at,
    )


def _decision(row: Sequence[Any]) -> ShadowDecision:
    return ShadowDecision(
        decision_id=row[0],
        model=row[1],
        model_version=row[2],
        policy_version=row[3],
        logits=tuple(json.loads(row[4])),
        risk_score=row[5],
        decision=row[6],
        scored_at=row[7],
    )


def _oldest_kept() -> int:
    return time.time_ns() // 1_000 - KEPT // timedelta(microseconds=1)

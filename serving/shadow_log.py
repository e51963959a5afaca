"""Shadow decisions in a database: a SQLite file of their own, or a table in PostgreSQL.

Not in the file of the decision log: SQLite has one writer, and a challenger must never make an
answer wait. ``decision_id`` joins the two.
"""

import json
import sqlite3
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.database import StateUnavailable, connect, is_server
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


def open_shadow_log(path: Path, uri: str | None = None) -> ShadowLog:
    """Return the log in the PostgreSQL database of the decision log, or else in a file."""
    if is_server(uri):
        return PostgresShadowLog(uri)
    return SqliteShadowLog(path)


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
            connection = self._opened()
            with connection:
                connection.execute("BEGIN IMMEDIATE")
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


def _oldest_kept() -> int:
    return time.time_ns() // 1_000 - KEPT // timedelta(microseconds=1)

"""The embedded database: one SQLite file in the state folder, safe for several processes."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeGuard

from infra.errors import InputError

_BUSY_TIMEOUT_S = 30.0


class StateUnavailable(InputError):
    """Raised when the state folder cannot be read or written."""


def is_server(uri: str | None) -> TypeGuard[str]:
    """Return whether a URI names a PostgreSQL server; None names nothing."""
    return uri is not None and uri.startswith(("postgresql://", "postgres://"))


def connect(path: Path, schema: str) -> sqlite3.Connection:
    """Open a database in WAL mode and make sure that its tables exist.

    Transactions are explicit (autocommit otherwise); every commit is on disk when it returns.

    Raises:
        StateUnavailable: If the folder is read-only or full, or the file is no database.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(schema)
    except (OSError, sqlite3.Error) as error:
        raise StateUnavailable(
            f"Cannot use the state in {path.parent}: {error}. "
            "Make the folder writable, free some space, or set WHITECROW_HOME."
        ) from None
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Hold the write lock from the begin; commit when the block ends well, or undo all of it.

    The lock comes first: no other process changes what is read in between.
    """
    # SQLite may have rolled back by itself, for example on a full disk: its own context manager
    # knows, and undoes a commit that fails.
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        yield connection

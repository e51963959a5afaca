"""The SQLite file of an online state: how it is opened, and what it was made for."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from features.online.entity_rows import SCHEMA as ENTITY_SCHEMA
from features.online.recording import SCHEMA as EVENT_SCHEMA
from features.online.segment import BYTE_ORDER
from features.online.state import StateUnreachable, mismatch

T = TypeVar("T")

# Raise it when the tables or the packing change.
_FORMAT = f"1-{BYTE_ORDER}"
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
{EVENT_SCHEMA}
{ENTITY_SCHEMA}
"""
_CACHE_KIB = 64 << 10


def connect(path: Path, *, busy_timeout: float) -> sqlite3.Connection:
    """Open a state file with explicit transactions; make it where there is none.

    A commit survives the end of the process. It is not forced to the disk before it returns,
    so that a power cut may take the last ones: they are applied again from the decision log.

    Args:
        path: Its folder is made too.
        busy_timeout: Seconds to wait for another process.

    Raises:
        StateUnreachable: If the file cannot be used.
    """
    with reachable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(
            path, timeout=busy_timeout, isolation_level=None, check_same_thread=False
        )
        for setting in (
            "journal_mode = WAL",
            "synchronous = NORMAL",
            "wal_autocheckpoint = 0",
            f"cache_size = -{_CACHE_KIB}",
        ):
            connection.execute(f"PRAGMA {setting}")
        return connection


def claim(connection: sqlite3.Connection, path: Path, *, contract: str, state_key: str) -> None:
    """Make the tables of a new file, or check that they were made for this feature set.

    Raises:
        StateMismatch: If they were made for another one, or by another release.
        StateUnreachable: If the file cannot be used.
    """
    wanted = {"format": _FORMAT, "state_key": state_key}
    with reachable(path):
        found = _about(connection)
        if not found:
            connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
            rows = [*wanted.items(), ("contract", contract)]
            connection.executemany("INSERT OR IGNORE INTO about VALUES (?, ?)", rows)
            found = _about(connection)
    for name, value in wanted.items():
        if found.get(name) != value:
            raise mismatch(str(path), str(found.get(name)), value)


def read_about(connection: sqlite3.Connection, name: str, default: T) -> T:
    """Return one fact about the state; ``default`` where it is not known."""
    row = connection.execute("SELECT value FROM about WHERE name = ?", (name,)).fetchone()
    return row[0] if row else default


def write_about(connection: sqlite3.Connection, **facts: str | int) -> None:
    """Record facts about the state."""
    connection.executemany("INSERT OR REPLACE INTO about VALUES (?, ?)", facts.items())


@contextmanager
def reachable(path: Path) -> Iterator[None]:
    """Turn what SQLite and the file system say into one line.

    Raises:
        StateUnreachable: If the block raised any of it.
    """
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise unreachable(path, error) from error


def unreachable(path: Path, error: Exception) -> StateUnreachable:
    """Return the one line for what SQLite or the file system said."""
    if "locked" in str(error) or "busy" in str(error):
        return StateUnreachable(
            f"The online state {path} stays locked by another process. Stop what holds it "
            "open for writing, or use Redis for several writers (WHITECROW_STATE_URI)."
        )
    return StateUnreachable(
        f"Cannot use the online state {path}: {error}. "
        "Make its folder writable and free some space, or set WHITECROW_STATE_URI."
    )


def _about(connection: sqlite3.Connection) -> dict[str, str | int]:
    tables = "SELECT count(*) FROM sqlite_master WHERE name = 'about'"
    if not connection.execute(tables).fetchone()[0]:
        return {}
    return dict(connection.execute("SELECT name, value FROM about").fetchall())

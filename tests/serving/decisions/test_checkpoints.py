"""The decision log of a file is folded into it beside the commits, never within one."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from serving.decisions import sqlite_store

# Where SQLite itself would begin to copy, within whichever commit comes next.
_PAGES_BY_ITSELF = 1_000
_N_COMMITS = 1_200


def touch(store: Any, moment: int) -> None:
    with store.writing() as transaction:
        transaction.touch(moment)


def pages_ahead(file: Path) -> int:
    """Return how many pages the write-ahead log holds."""
    return file.with_name(f"{file.name}-wal").stat().st_size // 4_096


def in_the_file(file: Path) -> int | None:
    """Return what was touched last as the file itself has it, without the log before it."""
    query = "SELECT value FROM log_about WHERE name = 'touched'"
    with closing(sqlite3.connect(f"file:{file}?immutable=1", uri=True)) as connection:
        try:
            row = connection.execute(query).fetchone()
        except sqlite3.OperationalError:  # its tables are still in the log, too
            return None
    return None if row is None else int(row[0])


def test_no_commit_copies_the_log_into_the_file(sqlite_place: Any, monkeypatch) -> None:
    store = sqlite_place.store()
    touch(store, 0)
    monkeypatch.setattr(sqlite_store, "_CHECKPOINT_EVERY_SECONDS", 3_600)
    touch(store, 1)

    for moment in range(_N_COMMITS):
        touch(store, moment)

    assert pages_ahead(sqlite_place.home / "decisions.db") > _PAGES_BY_ITSELF


def test_what_was_committed_comes_into_the_file(sqlite_place: Any, monkeypatch) -> None:
    monkeypatch.setattr(sqlite_store, "_CHECKPOINT_EVERY_SECONDS", 0)
    store = sqlite_place.store()

    touch(store, 17)
    deadline = time.monotonic() + 20
    while in_the_file(sqlite_place.home / "decisions.db") != 17 and time.monotonic() < deadline:
        time.sleep(0.01)

    assert in_the_file(sqlite_place.home / "decisions.db") == 17

"""Checkpoints of a SQLite file, off the path of requests.

Left to itself, SQLite copies the write-ahead log into the file within whichever commit happens
to fill it, and that row waits. Here a thread with a connection of its own does it.
"""

import logging
import os
import sqlite3
import sys
import threading
from contextlib import AbstractContextManager
from pathlib import Path

logger = logging.getLogger(__name__)

# Pages of 4 KiB. A log of 128 MiB is begun anew once little is left to copy; one of 1 GiB,
# which a machine that is too slow for its writers piles up, whatever is left.
_LONG_LOG, _LONGEST_LOG = 32_768, 262_144
_FEW_PAGES = 1_000
_PASSES = 8
_NICENESS = 5
# Whoever writes waits as long for readers, at worst.
_BUSY_SECONDS = 0.05

_descriptors: dict[tuple[int, int], int] = {}
_opening = threading.Lock()


class Checkpointer:
    """Copies the log into the file whenever it is asked to; stops with :meth:`close`.

    Args:
        path: The file.
        lock: Held by whoever writes in this process.
    """

    def __init__(self, path: Path, lock: AbstractContextManager[bool]) -> None:
        self._path = path
        self._lock = lock
        self._wanted = threading.Event()
        self._is_closing = False
        self._thread: threading.Thread | None = None

    def request(self) -> None:
        """Ask for a checkpoint and return at once."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="checkpointer", daemon=True)
            self._thread.start()
        self._wanted.set()

    def close(self) -> None:
        """Wait for a checkpoint under way and stop."""
        self._is_closing = True
        self._wanted.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        _yield_to_requests()
        connection = sqlite3.connect(self._path, isolation_level=None, timeout=_BUSY_SECONDS)
        try:
            while self._wanted.wait() and not self._is_closing:
                self._wanted.clear()
                self._attempt(connection)
        finally:
            connection.close()

    def _attempt(self, connection: sqlite3.Connection) -> None:
        try:
            self._checkpoint(connection)
        except (sqlite3.Error, OSError) as error:
            # Nothing is lost: the log is read as well as the file, and the next one tries again.
            logger.warning(
                "checkpoint failed", extra={"path": str(self._path), "error": str(error)}
            )

    def _checkpoint(self, connection: sqlite3.Connection) -> None:
        n_done = 0
        for _ in range(_PASSES):
            n_before = n_done
            _, n_pages, n_done = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if n_pages <= _LONG_LOG or self._is_closing:
                return
            flush(self._path)
            # Writers write on meanwhile, of which SQLite does not tell. A pass that had little to
            # copy was short, and left even less.
            if n_pages - n_before < _FEW_PAGES:
                break
        # Under steady writes the log never comes to its end by itself. Writers wait for the rest.
        if n_pages - n_before < _FEW_PAGES or n_pages > _LONGEST_LOG:
            with self._lock:
                connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()


def flush(path: Path) -> None:
    """Bring what was copied to the disk, so that little is left to do while writers wait."""
    if sys.platform == "linux":
        os.fdatasync(_descriptor(path))


def _descriptor(path: Path) -> int:
    """Return a descriptor of a file, the same one as long as this process lives.

    It is never closed: with it this process would lose its locks on the file, those of every
    connection to it (https://www.sqlite.org/howtocorrupt.html, section 2.2).
    """
    found = path.stat()
    file = found.st_dev, found.st_ino
    with _opening:
        if file not in _descriptors:
            _descriptors[file] = os.open(path, os.O_RDONLY)
        return _descriptors[file]


def _yield_to_requests() -> None:
    """Let the other threads of this process go first where they share a core."""
    if sys.platform == "linux":  # elsewhere priorities belong to whole processes
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)

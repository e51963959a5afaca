"""Checkpoints of a SQLite file, off the path of requests.

Left to itself, SQLite copies the write-ahead log into the file within whichever commit happens
to fill it, and that row waits. Here a thread with a connection of its own does it.
"""

import logging
import os
import sqlite3
import sys
import threading
from pathlib import Path

logger = logging.getLogger(__name__)

# About 256 MiB: reads look through the log before they look into the file.
_LONGEST_LOG_PAGES = 65_536
_NICENESS = 15


class Checkpointer:
    """Copies the log into the file whenever it is asked to; stops with :meth:`close`."""

    def __init__(self, path: Path) -> None:
        self._path = path
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
        connection = sqlite3.connect(self._path, isolation_level=None, timeout=1.0)
        try:
            while self._wanted.wait() and not self._is_closing:
                self._wanted.clear()
                self._checkpoint(connection)
        finally:
            connection.close()

    def _checkpoint(self, connection: sqlite3.Connection) -> None:
        try:
            _, n_pages, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            # Under steady writes the log never comes to its end by itself. Writers then wait for
            # what the passive checkpoint has left over.
            if n_pages > _LONGEST_LOG_PAGES:
                connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
        except sqlite3.Error as error:
            # Nothing is lost: the log is read as well as the file, and the next one tries again.
            logger.warning(
                "checkpoint failed", extra={"path": str(self._path), "error": str(error)}
            )


def _yield_to_requests() -> None:
    """Let the other threads of this process go first where they share a core."""
    if sys.platform == "linux":  # elsewhere priorities belong to whole processes
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)

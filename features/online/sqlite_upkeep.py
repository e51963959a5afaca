"""Upkeep of a SQLite state: its clock, what expires by it, and checkpoints."""

import sqlite3
from contextlib import AbstractContextManager
from pathlib import Path

from features.online.entity_rows import EntityRows
from features.online.expiry import ExpiryWalk
from features.online.sqlite_file import read_about, write_about
from infra.checkpointing import Checkpointer

_EVENTS_PER_STEP = 16
_EVENTS_PER_CHECKPOINT = 4_096
_LOADED_PER_CHECKPOINT = 32_768
# The clock is recorded when it has moved on this far: what a kill takes away only delays expiry.
_CLOCK_STEP = 60_000_000
_BEGINNING = -(2**62)


class Upkeep:
    """Does a little with every transaction, so that no request pays for many.

    Args:
        connection: Of the state.
        path: Its file.
        lock: Held by whoever uses the connection.
        retention: How long ids are remembered, in microseconds.

    Attributes:
        clock: Newest event time applied, in microseconds; far in the past while there is none.
        retention: As given.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        path: Path,
        lock: AbstractContextManager[bool],
        *,
        retention: int,
    ) -> None:
        self.retention = retention
        self.clock = self._recorded = read_about(connection, "newest", _BEGINNING)
        self._connection = connection
        self._checkpointer = Checkpointer(path, lock)
        self._walk = ExpiryWalk(
            read_about(connection, "walked_ids", ""), read_about(connection, "walked_entities", 0)
        )
        self._n_since_step = self._n_begun = self._n_logged = 0

    @property
    def newest(self) -> int | None:
        """Newest event time that any process is known to have applied; None while empty."""
        newest = max(self.clock, read_about(self._connection, "newest", _BEGINNING))
        return None if newest == _BEGINNING else newest

    def before_commit(self, rows: EntityRows, n_events: int) -> None:
        """Do the share of expiry that falls to these events, within their transaction."""
        if rows.newest > self._recorded + _CLOCK_STEP:
            self._record(rows.newest)
        self._n_logged += n_events
        self._n_since_step += n_events
        self._n_begun += rows.n_begun
        if self._n_since_step >= _EVENTS_PER_STEP:
            n, n_new = self._n_since_step, self._n_begun
            self._n_since_step = self._n_begun = 0
            cutoff = rows.newest - self.retention
            self._walk.step(self._connection, rows, cutoff, n, n_new=n_new)

    def after_commit(self, rows: EntityRows, *, is_load: bool) -> None:
        """Move the clock on, and see to it that the log is copied into the file.

        Args:
            rows: The entities of the transaction.
            is_load: Copy here and now: nobody waits for a load, and it leaves no gap for others.
        """
        self.clock = rows.newest
        if is_load and self._n_logged > _LOADED_PER_CHECKPOINT:
            self._n_logged = 0
            self._connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
        if not is_load and self._n_logged > _EVENTS_PER_CHECKPOINT:
            self._n_logged = 0
            self._checkpointer.request()

    def stop(self) -> None:
        """Wait for a checkpoint under way; to be called without the lock, which that may need."""
        self._checkpointer.close()

    def close(self) -> None:
        """Record the clock and fold the log into the file, if nobody else is at work on it."""
        try:
            if self.clock > read_about(self._connection, "newest", _BEGINNING):
                self._record(self.clock)
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error:
            # Another process writes: what is not in the file is in the log.
            pass

    def _record(self, newest: int) -> None:
        """Record the clock and how far expiry has come, for the next start."""
        write_about(
            self._connection,
            newest=newest,
            walked_ids=self._walk.last_id,
            walked_entities=self._walk.last_entity,
        )
        self._recorded = newest

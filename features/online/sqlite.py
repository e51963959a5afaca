"""Online state in one SQLite file, for one machine.

Every change is one transaction that holds the write lock from its first read on, so that two
processes never overwrite each other's events.
"""

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Self

from features.durations import microseconds
from features.online.checkpointing import Checkpointer
from features.online.entity_rows import EntityRows, hottest
from features.online.events import Event, LabelReport
from features.online.expiry import ExpiryWalk
from features.online.past import Past, entity_layouts
from features.online.past_reader import PastReader
from features.online.recording import Recording, find_seen
from features.online.sqlite_file import claim, connect, read_about, unreachable, write_about
from features.online.state import (
    LATENESS,
    Applied,
    HotEntity,
    LabelCounts,
    SkewGuard,
    StateDescription,
    StateUnreachable,
)
from features.velocity import VelocityPlan

BUSY_TIMEOUT_S = 2.0

_EVENTS_PER_STEP = 16
# The clock is recorded when it has moved on this far: what a kill takes away only delays expiry.
_CLOCK_STEP = 60_000_000
_EVENTS_PER_CHECKPOINT = 2_048
_LOADED_PER_CHECKPOINT = 32_768
_EVICTED_AT_ONCE = 500
_BEGINNING = -(2**62)


class SqliteState:
    """An :class:`features.online.state.OnlineState` in a file. Made by :meth:`open`."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        path: Path,
        plan: VelocityPlan,
        *,
        guard: SkewGuard,
        lateness: timedelta,
    ) -> None:
        self._connection = connection
        self._path = path
        self._guard = guard
        self._layouts = entity_layouts(plan)
        late = microseconds(lateness)
        self._retentions = [layout.horizon + late for layout in self._layouts]
        self._retention = max(self._retentions, default=late)
        self._reader = PastReader(connection, self._layouts)
        self._lock = threading.RLock()
        self._checkpointer = Checkpointer(path)
        self._newest = self._saved = read_about(connection, "newest", _BEGINNING)
        self._walk = ExpiryWalk(
            read_about(connection, "walked_ids", ""), read_about(connection, "walked_entities", 0)
        )
        self._n_applied = self._n_begun = self._n_logged = 0

    @classmethod
    def open(
        cls,
        path: Path,
        contract: str,
        plan: VelocityPlan,
        *,
        guard: SkewGuard,
        lateness: timedelta = LATENESS,
        busy_timeout: float = BUSY_TIMEOUT_S,
    ) -> Self:
        """Open the state in a file, which is made where there is none.

        Args:
            path: The file; SQLite keeps two more beside it while it is open.
            contract: Name of the contract.
            plan: The features that the state is for.
            guard: Refuses events of the future.
            lateness: How long after the longest look-back an event may still arrive.
            busy_timeout: Seconds to wait for another process that writes.

        Raises:
            StateMismatch: If the file was made for another feature set.
            StateUnreachable: If the file cannot be used.
        """
        connection = connect(path, busy_timeout=busy_timeout)
        try:
            claim(connection, path, contract=contract, state_key=plan.state_key)
            return cls(connection, path, plan, guard=guard, lateness=lateness)
        except BaseException:
            connection.close()
            raise

    def past(self, events: Sequence[Event]) -> list[Past]:
        """Return the past of each event (:meth:`OnlineState.past`)."""
        with self._reading():
            return self._reader.past(events)

    def seen(self, events: Sequence[Event]) -> list[Applied | None]:
        """Return what applying each event would find (:meth:`OnlineState.seen`)."""
        with self._reading():
            return [find_seen(self._connection, event) for event in events]

    def apply(self, events: Sequence[Event]) -> list[Applied]:
        """Store events, each once (:meth:`OnlineState.apply`)."""
        self._guard.check_events(events)
        with self._recording(len(events)) as recording:
            applied = recording.apply(events)
        self._ask_for_checkpoint()
        return applied

    def report_labels(self, reports: Sequence[LabelReport]) -> LabelCounts:
        """Record what became known (:meth:`OnlineState.report_labels`)."""
        self._guard.check_reports(reports)
        with self._recording() as recording:
            counts = recording.report(reports)
        self._n_logged += len(reports)
        self._ask_for_checkpoint()
        return counts

    def load(
        self, events: Sequence[Event], reports: Sequence[LabelReport], progress: str
    ) -> list[Applied]:
        """Apply history and record how far it got (:meth:`OnlineState.load`)."""
        self._guard.check_events(events)
        self._guard.check_reports(reports)
        with self._recording(len(events)) as recording:
            applied = recording.apply(events)
            recording.report(reports)
            write_about(self._connection, progress=progress)
        if self._n_logged > _LOADED_PER_CHECKPOINT:
            self._checkpoint("RESTART")
        return applied

    def progress(self) -> str | None:
        """Return what the last :meth:`load` recorded."""
        with self._reading():
            return read_about(self._connection, "progress", None)

    def evict(self) -> int:
        """Drop all that no feature can look back to any more (:meth:`OnlineState.evict`)."""
        walk = ExpiryWalk()
        n_dropped = 0
        # In parts, so that requests come in between.
        while True:
            with self._recording() as recording:
                cutoff = recording.rows.newest - self._retention
                n_dropped += walk.forget_ids(self._connection, cutoff, _EVICTED_AT_ONCE)
            if not walk.last_id:
                break
        while True:
            with self._recording() as recording:
                walk.trim_entities(recording.rows, _EVICTED_AT_ONCE, only_idle=False)
            if not walk.last_entity:
                return n_dropped

    def hot_entities(self, n: int) -> list[HotEntity]:
        """Return the entities with the most events (:meth:`OnlineState.hot_entities`)."""
        with self._reading():
            return hottest(self._connection, self._layouts, n)

    def describe(self) -> StateDescription:
        """Return what the file holds (:meth:`OnlineState.describe`)."""
        count = "SELECT (SELECT count(*) FROM entity), (SELECT count(*) FROM event)"
        with self._reading():
            n_entities, n_events = self._connection.execute(count).fetchone()
            newest = max(self._newest, read_about(self._connection, "newest", _BEGINNING))
            return StateDescription(
                location=str(self._path),
                contract=read_about(self._connection, "contract", ""),
                state_key=read_about(self._connection, "state_key", ""),
                newest_event_time=None if newest == _BEGINNING else newest,
                n_entities=n_entities,
                n_events=n_events,
                n_bytes=self._n_bytes(),
            )

    def close(self) -> None:
        """Fold the log into the file and let go of it."""
        with self._lock:
            self._checkpointer.close()
            try:
                if self._newest > read_about(self._connection, "newest", _BEGINNING):
                    self._save_clock(self._newest)
                self._checkpoint("TRUNCATE")
            except (sqlite3.Error, StateUnreachable):
                # Another process is at work on it: what it needs is in the log.
                pass
            finally:
                self._connection.close()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except sqlite3.Error as error:
                raise unreachable(self._path, error) from error

    @contextmanager
    def _recording(self, n_events: int = 0) -> Iterator[Recording]:
        """Yield what records into one transaction, committed when the block ends well."""
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    rows = EntityRows(
                        self._connection, self._layouts, self._retentions, self._newest
                    )
                    yield Recording(self._connection, self._layouts, rows, self._retention)
                    self._keep_up(rows, n_events)
                    rows.write_back()
                    self._connection.execute("COMMIT")
                except BaseException:
                    self._roll_back()
                    raise
            except sqlite3.Error as error:
                raise unreachable(self._path, error) from error
            self._newest = rows.newest

    def _keep_up(self, rows: EntityRows, n_events: int) -> None:
        """Do the share of upkeep that falls to these events."""
        if rows.newest > self._saved + _CLOCK_STEP:
            self._save_clock(rows.newest)
        before, self._n_applied = self._n_applied, self._n_applied + n_events
        self._n_begun += rows.n_begun
        n_due = self._n_applied // _EVENTS_PER_STEP - before // _EVENTS_PER_STEP
        if n_due:
            cutoff = rows.newest - self._retention
            n_new, self._n_begun = self._n_begun, 0
            self._walk.step(self._connection, rows, cutoff, n_due * _EVENTS_PER_STEP, n_new=n_new)
        self._n_logged += n_events

    def _save_clock(self, newest: int) -> None:
        """Record the clock and how far expiry has come, for the next start."""
        write_about(
            self._connection,
            newest=newest,
            walked_ids=self._walk.last_id,
            walked_entities=self._walk.last_entity,
        )
        self._saved = newest

    def _ask_for_checkpoint(self) -> None:
        if self._n_logged > _EVENTS_PER_CHECKPOINT:
            self._n_logged = 0
            self._checkpointer.request()

    def _checkpoint(self, kind: str) -> None:
        """Fold the log into the file here and now: nobody waits for a load."""
        with self._reading():
            self._connection.execute(f"PRAGMA wal_checkpoint({kind})").fetchone()
            self._n_logged = 0

    def _roll_back(self) -> None:
        # SQLite may have rolled back by itself, for example on a full disk.
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def _n_bytes(self) -> int:
        files = (self._path, self._path.with_name(f"{self._path.name}-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

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
from features.online.entity_rows import EntityRows, forget, hottest
from features.online.events import Event, LabelReport
from features.online.expiry import ExpiryWalk
from features.online.forgetting import ForgottenEntity
from features.online.past import Past, entity_layouts
from features.online.past_reader import PastReader
from features.online.recording import Recording, find_seen
from features.online.sqlite_file import claim, connect, read_about, unreachable, write_about
from features.online.sqlite_upkeep import Upkeep
from features.online.state import (
    LATENESS,
    Applied,
    HotEntity,
    LabelCounts,
    SkewGuard,
    StateDescription,
)
from features.velocity import VelocityPlan

BUSY_TIMEOUT_S = 2.0

_EVICTED_AT_ONCE = 500


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
        self._plan = plan
        self._layouts = entity_layouts(plan)
        late = microseconds(lateness)
        self._retentions = [layout.horizon + late for layout in self._layouts]
        self._reader = PastReader(connection, self._layouts)
        self._lock = threading.RLock()
        retention = max(self._retentions, default=late)
        self._upkeep = Upkeep(connection, path, self._lock, retention=retention)

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

    @property
    def location(self) -> str:
        """The file."""
        return str(self._path)

    def past(self, events: Sequence[Event]) -> list[Past]:
        """Return the past of each event (:meth:`OnlineState.past`)."""
        with self._reading():
            return self._reader.past(events)

    def seen(self, events: Sequence[Event]) -> list[Applied | None]:
        """Return what applying each event would find (:meth:`OnlineState.seen`)."""
        with self._reading():
            return find_seen(self._connection, events)

    def apply(self, events: Sequence[Event]) -> list[Applied]:
        """Store events, each once (:meth:`OnlineState.apply`)."""
        self._guard.check_events(events)
        with self._recording(len(events)) as recording:
            return recording.apply(events)

    def report_labels(self, reports: Sequence[LabelReport]) -> LabelCounts:
        """Record what became known (:meth:`OnlineState.report_labels`)."""
        self._guard.check_reports(reports)
        with self._recording(len(reports)) as recording:
            return recording.report(reports)

    def load(
        self, events: Sequence[Event], reports: Sequence[LabelReport], progress: str
    ) -> list[Applied]:
        """Apply history and record how far it got (:meth:`OnlineState.load`)."""
        self._guard.check_events(events)
        self._guard.check_reports(reports)
        with self._recording(len(events), is_load=True) as recording:
            applied = recording.apply(events)
            recording.report(reports)
            write_about(self._connection, progress=progress)
            return applied

    def progress(self) -> str | None:
        """Return what the last :meth:`load` recorded."""
        with self._reading():
            return read_about(self._connection, "progress", None)

    def newest(self) -> int | None:
        """Return the newest event time applied (:meth:`OnlineState.newest`)."""
        with self._reading():
            return self._upkeep.newest

    def evict(self) -> int:
        """Drop all that no feature can look back to any more (:meth:`OnlineState.evict`)."""
        walk = ExpiryWalk()
        n_dropped = 0
        # In parts, so that requests come in between.
        while True:
            with self._recording() as recording:
                cutoff = recording.rows.newest - self._upkeep.retention
                n_dropped += walk.forget_ids(self._connection, cutoff, _EVICTED_AT_ONCE)
            if not walk.last_id:
                break
        while True:
            with self._recording() as recording:
                walk.trim_entities(recording.rows, _EVICTED_AT_ONCE, only_idle=False)
            if not walk.last_entity:
                return n_dropped

    def forget_entity(self, column: str, value: str) -> int:
        """Drop what is stored under a value (:meth:`OnlineState.forget_entity`)."""
        forgotten = ForgottenEntity(self._plan, column, value)
        with self._reading():
            self._connection.execute("PRAGMA secure_delete = ON")
        with self._recording():
            n_gone = forget(self._connection, forgotten)
        with self._reading():
            # What was deleted goes from the log beside the file, too, unless somebody reads it.
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            self._connection.execute("PRAGMA secure_delete = OFF")
        return n_gone

    def hot_entities(self, n: int) -> list[HotEntity]:
        """Return the entities with the most events (:meth:`OnlineState.hot_entities`)."""
        with self._reading():
            return hottest(self._connection, self._layouts, n)

    def describe(self) -> StateDescription:
        """Return what the file holds (:meth:`OnlineState.describe`)."""
        count = "SELECT (SELECT count(*) FROM entity), (SELECT count(*) FROM event)"
        with self._reading():
            n_entities, n_events = self._connection.execute(count).fetchone()
            return StateDescription(
                location=str(self._path),
                contract=read_about(self._connection, "contract", ""),
                state_key=read_about(self._connection, "state_key", ""),
                newest_event_time=self._upkeep.newest,
                n_entities=n_entities,
                n_events=n_events,
                n_bytes=self._n_bytes(),
            )

    def close(self) -> None:
        """Fold the log into the file and let go of it."""
        self._upkeep.stop()
        with self._lock:
            self._upkeep.close()
            self._connection.close()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except sqlite3.Error as error:
                raise unreachable(self._path, error) from error

    @contextmanager
    def _recording(self, n: int = 0, *, is_load: bool = False) -> Iterator[Recording]:
        """Yield what records into one transaction, committed when the block ends well."""
        upkeep = self._upkeep
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    rows = EntityRows(
                        self._connection, self._layouts, self._retentions, upkeep.clock
                    )
                    yield Recording(self._connection, self._layouts, rows, upkeep.retention)
                    upkeep.before_commit(rows, n)
                    rows.write_back()
                    self._connection.execute("COMMIT")
                except BaseException:
                    self._roll_back()
                    raise
                upkeep.after_commit(rows, is_load=is_load)
            except sqlite3.Error as error:
                raise unreachable(self._path, error) from error

    def _roll_back(self) -> None:
        # SQLite may have rolled back by itself, for example on a full disk.
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def _n_bytes(self) -> int:
        files = (self._path, self._path.with_name(f"{self._path.name}-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

"""The schedules of a state folder and what became of their moments, in its database.

It is the truth that Prefect's server is kept equal to: a server whose database is gone gets the
schedules anew, and a moment that was done is not done again.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from sqlite3 import Connection, Row
from typing import Any

from flows.scheduling.schedule import Kind, Schedule, ScheduleKey
from infra.database import connect, transaction
from infra.errors import InputError
from infra.storage import canonical_json

_SCHEMA = """
CREATE TABLE IF NOT EXISTS schedule (
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    record TEXT NOT NULL,
    told_since TEXT,
    PRIMARY KEY (name, kind)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS scheduled_run (
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    moment TEXT NOT NULL,
    state TEXT NOT NULL,
    why TEXT NOT NULL,
    details TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    changed_at TEXT NOT NULL,
    PRIMARY KEY (name, kind, moment)
) WITHOUT ROWID;
"""
_BEGIN = """
INSERT INTO scheduled_run VALUES (?, ?, ?, 'begun', '', '{}', 1, ?)
ON CONFLICT (name, kind, moment) DO UPDATE SET
state = 'begun', why = '', attempts = attempts + 1, changed_at = excluded.changed_at
"""
_END = """
INSERT INTO scheduled_run VALUES (?, ?, ?, ?, ?, ?, 0, ?)
ON CONFLICT (name, kind, moment) DO UPDATE SET state = excluded.state, why = excluded.why,
details = excluded.details, changed_at = excluded.changed_at
"""
_WHERE = "WHERE name = ? AND kind = ?"
_LAST = datetime.max.replace(tzinfo=UTC)


class UnknownSchedule(InputError):
    """Raised when a schedule is named that there is not."""


class RunState(StrEnum):
    """What became of a moment."""

    BEGUN = "begun"
    """It is under way, or was cut off."""
    DONE = "done"
    RESTED = "rested"
    """There was rightly nothing to do."""
    PASSED_OVER = "passed over"
    """A later moment was due by the time that it could begin."""
    FAILED = "failed"


ENDED_WELL = (RunState.DONE, RunState.RESTED)


@dataclass(frozen=True, slots=True)
class ScheduledRun:
    """What became of one moment of a schedule.

    Attributes:
        moment: What it was scheduled for; its knowledge counts.
        state: Where it is.
        why: In a sentence, where it did not simply end well.
        details: What the work handed back, for machines.
        attempts: How often it was begun.
        changed_at: When it got into that state.
    """

    moment: datetime
    state: RunState
    why: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    attempts: int = 0
    changed_at: datetime | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as one JSON object."""
        return {
            "moment": self.moment.isoformat(),
            "state": str(self.state),
            "why": self.why,
            "attempts": self.attempts,
            **self.details,
        }


class ScheduleBook:
    """Schedules and runs in one SQLite file; safe for several processes.

    Args:
        path: See :attr:`infra.settings.Settings.database`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def put(self, schedule: Schedule) -> None:
        """Write a schedule down in place of the one with its key."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO schedule VALUES (?, ?, ?, NULL) ON CONFLICT (name, kind) "
                "DO UPDATE SET record = excluded.record, told_since = NULL",
                (*_key(schedule), schedule.model_dump_json()),
            )

    def remove(self, key: ScheduleKey) -> None:
        """Take a schedule out; what became of its moments stays."""
        with self._transaction() as connection:
            connection.execute(f"DELETE FROM schedule {_WHERE}", _key(key))  # noqa: S608

    def schedules(self) -> list[Schedule]:
        """Return every schedule, by name and kind."""
        with self._transaction() as connection:
            rows = connection.execute("SELECT record FROM schedule ORDER BY name, kind").fetchall()
        return [Schedule.model_validate_json(row["record"]) for row in rows]

    def get(self, key: ScheduleKey) -> Schedule:
        """Return a schedule.

        Raises:
            UnknownSchedule: If there is none; the message says which there are.
        """
        found = self.schedules()
        for schedule in found:
            if schedule.key == key:
                return schedule
        known = ", ".join(str(schedule.key) for schedule in found) or "none"
        flag = " --monitor" if key.kind == Kind.MONITOR else ""
        raise UnknownSchedule(
            f"There is no schedule {key} (there are: {known}). "
            f'Make it: whitecrow schedule {key.name}{flag} --cron "0 3 * * *" --data URI'
        )

    def begin(self, key: ScheduleKey, moment: datetime) -> int:
        """Write down that the work of a moment begins, and return for which time."""
        with self._transaction() as connection:
            connection.execute(_BEGIN, (*_key(key), _text(moment), _text(datetime.now(UTC))))
            row = connection.execute(
                f"SELECT attempts FROM scheduled_run {_WHERE} AND moment = ?",  # noqa: S608
                (*_key(key), _text(moment)),
            ).fetchone()
        return int(row["attempts"])

    def end(
        self,
        key: ScheduleKey,
        moment: datetime,
        state: RunState,
        *,
        why: str = "",
        details: Mapping[str, Any] | None = None,
    ) -> ScheduledRun:
        """Write down what became of a moment and return it."""
        values = (str(state), why, canonical_json(dict(details or {})), _text(datetime.now(UTC)))
        with self._transaction() as connection:
            connection.execute(_END, (*_key(key), _text(moment), *values))
        found = self.run(key, moment)
        assert found is not None
        return found

    def run(self, key: ScheduleKey, moment: datetime) -> ScheduledRun | None:
        """Return what became of a moment; None if it was never begun."""
        return next(iter(self._runs(key, "AND moment = ?", _text(moment))), None)

    def runs(self, key: ScheduleKey, newest: int = -1) -> list[ScheduledRun]:
        """Return what became of a schedule's moments, newest first; all, or so many."""
        return self._runs(key, "ORDER BY moment DESC LIMIT ?", newest)

    def begun(self, key: ScheduleKey) -> list[ScheduledRun]:
        """Return the moments that are under way or were cut off."""
        return self._runs(key, "AND state = ?", str(RunState.BEGUN))

    def last(
        self, key: ScheduleKey, *states: RunState, before: datetime | None = None
    ) -> datetime | None:
        """Return the newest moment in one of some states, before another one; None for none."""
        places = ", ".join("?" * len(states))
        rest = f"AND state IN ({places}) AND moment < ? ORDER BY moment DESC LIMIT 1"
        until = _LAST if before is None else before
        found = self._runs(key, rest, *map(str, states), _text(until))
        return found[0].moment if found else None

    def _runs(self, key: ScheduleKey, rest: str, *values: object) -> list[ScheduledRun]:
        query = f"SELECT * FROM scheduled_run {_WHERE} {rest}"  # noqa: S608 - all of it is ours
        with self._transaction() as connection:
            return [_run(row) for row in connection.execute(query, (*_key(key), *values))]

    def tell_once(self, key: ScheduleKey, since: datetime) -> bool:
        """Return whether the silence since a moment is still to be told, and note that it is."""
        with self._transaction() as connection:
            told = connection.execute(
                f"UPDATE schedule SET told_since = ? {_WHERE} "  # noqa: S608
                "AND told_since IS NOT ?",
                (_text(since), *_key(key), _text(since)),
            )
        return told.rowcount == 1

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with closing(connect(self._path, _SCHEMA)) as connection:
            connection.row_factory = Row
            with transaction(connection):
                yield connection


def _key(key: ScheduleKey) -> tuple[str, str]:
    return key.name, str(key.kind)


def _text(moment: datetime) -> str:
    # One way to write a moment: text sorts as time does.
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def _run(row: Row) -> ScheduledRun:
    return ScheduledRun(
        moment=datetime.fromisoformat(row["moment"]),
        state=RunState(row["state"]),
        why=row["why"],
        details=json.loads(row["details"]),
        attempts=row["attempts"],
        changed_at=datetime.fromisoformat(row["changed_at"]),
    )

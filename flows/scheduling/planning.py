"""Schedules made, changed and taken away: the ledger first, then the book, then Prefect's copy."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from features.ingestion.database import is_database_uri
from features.ingestion.tables import scan_table
from flows.moments import RequestError
from flows.monitoring.config import read_monitor_config
from flows.run_config import read_run_config
from flows.scheduling.book import ScheduleBook, ScheduledRun
from flows.scheduling.deployments import Deployments
from flows.scheduling.running import is_held
from flows.scheduling.schedule import Kind, Schedule, ScheduleKey
from flows.scheduling.server import ensure_server
from flows.scheduling.work import is_dated
from infra.ledger import open_ledger
from infra.settings import Settings
from serving.model_store import ModelStore


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a schedule stands.

    Attributes:
        schedule: What was asked for.
        next: When it is due next; None while it is paused.
        last: What became of the newest moment that anything became of.
        under_way: Whether a process works on it now.
    """

    schedule: Schedule
    next: datetime | None
    last: ScheduledRun | None
    under_way: bool

    def to_json(self) -> dict[str, Any]:
        """Return it as one JSON object."""
        return {
            **self.schedule.model_dump(mode="json"),
            "next": None if self.next is None else self.next.isoformat(),
            "last": None if self.last is None else self.last.to_json(),
            "under_way": self.under_way,
        }


def put_schedule(settings: Settings, schedule: Schedule) -> str:
    """Make a schedule, or put it in place of the one with its key; returns Prefect's API's URL.

    Raises:
        UnknownModel: If the model does not exist.
        RequestError: If a window is asked for, and rows carry no time; or what a monitoring does
            not have.
        DataError: If its data cannot be read.
        RunConfigError: If its run configuration cannot.
        MonitorConfigError: If the limits of its monitoring cannot.
        ServerUnavailable: If there is no Prefect server, or it lacks the work pool.
    """
    _check(settings, schedule)
    url = ensure_server(settings)
    with Deployments.at(url) as deployments:
        deployments.ensure_pool(schedule.pool)
        _note(settings, "scheduled", schedule, schedule.actor, schedule.reason)
        ScheduleBook(settings.database).put(schedule)
        deployments.put(schedule)
    return url


def remove_schedule(settings: Settings, key: ScheduleKey, *, actor: str, reason: str) -> None:
    """Take a schedule away; a run under way ends as ever.

    Raises:
        UnknownSchedule: If there is none.
        ServerUnavailable: If there is no Prefect server.
    """
    book = ScheduleBook(settings.database)
    schedule = book.get(key)
    with Deployments.at(ensure_server(settings)) as deployments:
        _note(settings, "schedule.removed", schedule, actor, reason)
        book.remove(key)
        deployments.remove(key)


def pause_schedule(
    settings: Settings, key: ScheduleKey, *, paused: bool, actor: str, reason: str
) -> Schedule:
    """Have a schedule's moments pass by, or count again from now on.

    Raises:
        UnknownSchedule: If there is none.
        ServerUnavailable: If there is no Prefect server.
    """
    book = ScheduleBook(settings.database)
    since = {} if paused else {"since": datetime.now(UTC)}
    schedule = book.get(key).changed(paused=paused, **since)
    with Deployments.at(ensure_server(settings)) as deployments:
        event = "schedule.paused" if paused else "schedule.resumed"
        _note(settings, event, schedule, actor, reason)
        book.put(schedule)
        deployments.set_paused(key, paused=paused)
    return schedule


def start_now(settings: Settings, key: ScheduleKey) -> datetime:
    """Have a schedule's work run as of now, by the next free worker; returns the moment.

    Raises:
        UnknownSchedule: If there is none.
        ServerUnavailable: If there is no Prefect server.
    """
    schedule = ScheduleBook(settings.database).get(key)
    moment = datetime.now(UTC).replace(microsecond=0)
    with Deployments.at(ensure_server(settings)) as deployments:
        deployments.start(schedule, moment)
    return moment


def standings(settings: Settings) -> list[Standing]:
    """Return where every schedule stands; no server is needed."""
    book = ScheduleBook(settings.database)
    now = datetime.now(UTC)
    return [
        Standing(
            schedule,
            None if schedule.paused else schedule.moments.after(now),
            next(iter(book.runs(schedule.key, newest=1)), None),
            is_held(settings, schedule.key),
        )
        for schedule in book.schedules()
    ]


def _check(settings: Settings, schedule: Schedule) -> None:
    ModelStore.open(settings).resolve_version(schedule.name)
    if schedule.window is not None and not is_dated(settings, schedule):
        raise RequestError(
            f"--window: rows of {schedule.name} carry no time. Leave it out; what is not new "
            "is not trained on again."
        )
    if schedule.kind == Kind.MONITOR and len(schedule.data) > 1:
        raise RequestError(
            "--data: a monitoring looks at one table. Give one, or none for the log."
        )
    if schedule.kind == Kind.MONITOR and schedule.min_new_labels:
        raise RequestError("--min-new-labels: a monitoring waits for no labels. Leave it out.")
    for source in schedule.data:
        if not is_database_uri(source):
            scan_table(source).collect_schema()
    if schedule.config is None:
        return
    if schedule.kind == Kind.RETRAIN:
        read_run_config(schedule.config, strategy=None, seed=None)
    else:
        read_monitor_config(schedule.config)


def _note(settings: Settings, event: str, schedule: Schedule, actor: str, reason: str) -> None:
    details = schedule.model_dump(mode="json")
    open_ledger(settings).append(event, schedule.name, actor=actor, reason=reason, details=details)

"""What a schedule does at a moment: a retraining, or a look at a model that may start one."""

import logging
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

from features.durations import parse_duration
from flows.locks import Busy
from flows.run_config import read_run_config
from flows.scheduling.book import RunState, ScheduleBook, UnknownSchedule
from flows.scheduling.running import Work
from flows.scheduling.schedule import Kind, Schedule, ScheduleKey
from infra.settings import Settings
from serving.model_store import ModelStore

logger = logging.getLogger(__name__)

_Result = TypeVar("_Result")
_TRIES_EVERY_S = 5.0
_TOLD = ("key", "version", "policy_version", "champion", "verdict", "says", "page", "report")


def retrain(settings: Settings, schedule: Schedule, moment: datetime) -> dict[str, Any]:
    """Retrain a model as of a moment, on the rows of the window before it.

    Another retraining of the model is waited for. The same window again trains nothing.

    Raises:
        WhitecrowError: If a step says no; the champion keeps serving.
    """
    from flows.retraining.request import RetrainRequest
    from flows.retraining.run import run_retraining

    has_time = is_dated(settings, schedule)
    config = schedule.config and read_run_config(schedule.config, strategy=None, seed=None)
    request = RetrainRequest(
        name=schedule.name,
        data=schedule.data,
        config=config,
        since=schedule.first_row_at(moment) if has_time else None,
        # Without a time no row can be told from later ones, and the tables' content decides.
        until=moment if has_time else None,
        actor=schedule.actor,
        reason=schedule.reason,
    )
    outcome = _when_free(lambda: run_retraining(request, settings)).to_json()
    return {name: outcome[name] for name in _TOLD}


def monitor(settings: Settings, schedule: Schedule, moment: datetime) -> dict[str, Any]:
    """Look at a model as of a moment, and start a retraining where a finding calls for one.

    Raises:
        WhitecrowError: If the rows cannot be looked at.
    """
    from flows.monitoring.request import MonitorRequest
    from flows.monitoring.run import monitor as look

    has_time = is_dated(settings, schedule)
    request = MonitorRequest(
        name=schedule.name,
        since=schedule.first_row_at(moment) if has_time else None,
        until=moment if has_time else None,
        as_of=moment,
        data=schedule.data[0] if schedule.data else None,
        config=schedule.config,
    )
    report = look(settings, request)
    wanted = any(finding.action == "retrain" for finding in report.findings)
    started = start_retraining(settings, schedule, moment) if wanted else "not called for"
    return {"findings": len(report.findings), "retraining": started, "folder": str(report.folder)}


WORK: Mapping[Kind, Work] = {Kind.RETRAIN: retrain, Kind.MONITOR: monitor}
"""What each kind of schedule does."""


def start_retraining(settings: Settings, schedule: Schedule, moment: datetime) -> str:
    """Have the model's retraining run as of a moment; returns what became of that, in words."""
    from flows.scheduling.deployments import Deployments
    from flows.scheduling.server import ensure_server

    book = ScheduleBook(settings.database)
    key = ScheduleKey(name=schedule.name)
    try:
        retraining = book.get(key)
    except UnknownSchedule as error:
        logger.warning("retraining called for, and none is scheduled: %s", error)
        return "called for, but none is scheduled"
    last = book.last(key, RunState.DONE, RunState.BEGUN)
    if last is not None and last > moment - parse_duration(schedule.rest):
        return f"called for, but there was one as of {last:%Y-%m-%d %H:%M} UTC"
    with Deployments.at(ensure_server(settings)) as deployments:
        deployments.start(retraining, moment)
    return "started"


def is_dated(settings: Settings, schedule: Schedule) -> bool:
    """Return whether the rows of a schedule's model carry a time that a window can tell them by."""
    store = ModelStore.open(settings)
    name, version = store.resolve_version(schedule.name)
    return store.bundle(name, version).contract.event_time_column is not None


def _when_free(work: Callable[[], _Result]) -> _Result:
    """Do what only one process may do at a time, after whoever does it now."""
    told = False
    while True:
        try:
            return work()
        except Busy as busy:
            if not told:
                logger.warning("waits: %s", busy)
                told = True
            time.sleep(_TRIES_EVERY_S)

"""What Prefect runs: one moment of a schedule, in a process of its own."""

import logging
import os
import sys
from pathlib import Path

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext

from flows.scheduling.book import ScheduleBook
from flows.scheduling.deployments import ended_state, moment_of
from flows.scheduling.running import run_moment
from flows.scheduling.schedule import Kind, ScheduleKey
from flows.scheduling.work import WORK
from infra.logs import configure_logs
from infra.settings import Settings

logger = logging.getLogger(__name__)


@flow(name="whitecrow-scheduled-retrain", validate_parameters=False)
def retrain(name: str, moment: str | None = None) -> "State[object]":  # noqa: ARG001
    """Retrain a model as its schedule says."""
    return _run(ScheduleKey(name=name, kind=Kind.RETRAIN))


@flow(name="whitecrow-scheduled-monitor", validate_parameters=False)
def monitor(name: str, moment: str | None = None) -> "State[object]":  # noqa: ARG001
    """Look after a model as its schedule says."""
    return _run(ScheduleKey(name=name, kind=Kind.MONITOR))


def log_of(settings: Settings, key: ScheduleKey) -> Path:
    """Return where the runs of a schedule tell what they do."""
    return settings.root / "logs" / f"{key.kind}-{key.name}.log"


def _run(key: ScheduleKey) -> "State[object]":
    settings = Settings()
    _tell_into(log_of(settings, key))
    schedule = ScheduleBook(settings.database).get(key)
    context = FlowRunContext.get()
    assert context is not None
    assert context.flow_run is not None
    moment = moment_of(schedule, context.flow_run)
    # What was asked for beside the cron is done however late it begins, and whatever is known.
    asked_for = schedule.moments.newest(moment) != moment
    done = run_moment(
        settings,
        schedule,
        moment,
        WORK[key.kind],
        even_if_late=asked_for,
        even_without_labels=asked_for,
    )
    logger.info("moment ended", extra={"schedule": str(key), "moment": moment, "state": done.state})
    return ended_state(done.state, done.why)


def _tell_into(log: Path) -> None:
    """Send what this process prints to a file that outlives the worker, and its pipes."""
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    with log.open("ab") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    configure_logs(level="INFO")

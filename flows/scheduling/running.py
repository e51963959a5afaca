"""One moment of a schedule, worked off once: by whoever comes first, and again after a kill."""

import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any, TypeAlias

import httpx
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError

from flows.locks import is_taken, one_at_a_time
from flows.scheduling.book import ENDED_WELL, RunState, ScheduleBook, ScheduledRun
from flows.scheduling.labels import too_few_labels
from flows.scheduling.schedule import Schedule, ScheduleKey
from flows.scheduling.server import ServerUnavailable
from infra.errors import Refusal, WhitecrowError
from infra.settings import Settings

logger = logging.getLogger(__name__)

Work: TypeAlias = Callable[[Settings, Schedule, datetime], Mapping[str, Any]]
"""Does what a schedule is for, as of a moment, and returns what came of it, for machines."""

MOST_ATTEMPTS = 5
_SERVER_IS_AWAY = (
    ServerUnavailable, httpx.TransportError, PrefectHTTPStatusError, ObjectNotFound,
)  # fmt: skip


class CutOff(Refusal):
    """Raised when Prefect's server went away in the middle: no fault of the work, which goes on."""


def run_moment(
    settings: Settings,
    schedule: Schedule,
    moment: datetime,
    work: Work,
    *,
    even_if_late: bool = False,
    even_without_labels: bool = False,
) -> ScheduledRun:
    """Work off one moment and return what became of it; what ended well is not done again.

    Another process that works on the same schedule is waited for. A process that is killed leaves
    the moment begun, and the next one goes on with it.

    Args:
        settings: Where the state is.
        schedule: What to do.
        moment: What it was scheduled for.
        work: Does it.
        even_if_late: Whether it is done although a later moment is due by now, as in a backfill.
        even_without_labels: Whether it is done however few labels arrived, as on demand.

    Raises:
        CutOff: If Prefect's server went away; the moment stays begun.
        WhitecrowError: What the work raised; the moment has failed.
    """
    book = ScheduleBook(settings.database)
    with held(settings, schedule):
        known = book.run(schedule.key, moment)
        if known is not None and known.state in ENDED_WELL:
            return known
        if not even_if_late and (later := _later_moment(schedule, moment)):
            if known is not None and known.state != RunState.BEGUN:
                return known
            why = f"{later:%Y-%m-%d %H:%M} UTC was due by then"
            return book.end(schedule.key, moment, RunState.PASSED_OVER, why=why)
        why_not = None if even_without_labels else too_few_labels(settings, schedule, moment)
        if why_not is not None:
            return book.end(schedule.key, moment, RunState.RESTED, why=why_not)
        attempt = book.begin(schedule.key, moment)
        logger.info(
            "moment begun",
            extra={"schedule": str(schedule.key), "moment": moment, "attempt": attempt},
        )
        try:
            details = work(settings, schedule, moment)
        except Exception as error:
            if _is_cut_off(error):
                cut_off = CutOff(
                    "Prefect's server went away in the middle. What is finished is kept; a worker "
                    "goes on with the rest when the server is back."
                )
                # Where its database is gone, Prefect has no run left to write this to.
                logger.warning("%s", cut_off)
                raise cut_off from error
            if not isinstance(error, WhitecrowError):
                raise
            book.end(schedule.key, moment, RunState.FAILED, why=str(error))
            raise
        return book.end(schedule.key, moment, RunState.DONE, details=details)


def held(settings: Settings, schedule: Schedule) -> AbstractContextManager[None]:
    """Be the only one who works on a schedule, after whoever does so now.

    The operating system lets go of what a killed process held.
    """
    doing = f"{schedule.kind} {schedule.name}"
    return one_at_a_time(
        settings, _lock(schedule.key), doing=doing, actor=schedule.actor, waits=True
    )


def is_held(settings: Settings, key: ScheduleKey) -> bool:
    """Return whether a process works on a schedule."""
    return is_taken(settings, _lock(key))


def _lock(key: ScheduleKey) -> str:
    return f"schedule-{key.kind}-{key.name}"


def _later_moment(schedule: Schedule, moment: datetime) -> datetime | None:
    """Return the newest moment that is due by now, if it is another than this one."""
    newest = schedule.moments.newest(datetime.now(UTC))
    return newest if newest is not None and newest > moment else None


def _is_cut_off(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, _SERVER_IS_AWAY):
            return True
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return False

"""Runs what is due on this machine, each run in a process of its own, until it is told to stop."""

import logging
import os
import signal
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import anyio
from anyio import to_thread
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.workers.process import ProcessWorker

from flows.scheduling.book import ScheduleBook
from flows.scheduling.schedule import POOL, ScheduleKey
from flows.scheduling.server import ServerUnavailable, ensure_server
from flows.scheduling.silence import tell_silences
from flows.scheduling.upkeep import Patience, look_after
from infra.errors import WhitecrowError
from infra.settings import Settings

logger = logging.getLogger(__name__)

_AT_ONCE = Patience(running=0.0, pending=0.0, missing=60.0)


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a worker looks, in seconds.

    Attributes:
        upkeep: At schedules, lost runs and silences.
        restart: After Prefect's own worker gave up, because its server was away for long.
        patience: How long something may look wrong.
    """

    upkeep: float = 15.0
    restart: float = 5.0
    patience: Patience = field(default_factory=Patience)


def run_worker(settings: Settings, names: Sequence[str] = (), pace: Pace | None = None) -> None:
    """Run what is due until SIGTERM or Ctrl-C; what runs then is cut off, and goes on later.

    Args:
        settings: Where the state is.
        names: Models to work for; all where there are none.
        pace: How often it looks.

    Raises:
        UnknownSchedule: If a name has no schedule.
        ServerUnavailable: If there is no server, and none can be started.
    """
    pace, book = pace or Pace(), ScheduleBook(settings.database)
    for name in set(names) - {schedule.name for schedule in book.schedules()}:
        book.get(ScheduleKey(name=name))
    url = ensure_server(settings)
    # Runs are processes in other folders.
    os.environ["WHITECROW_HOME"] = str(settings.root)
    look_after(settings, url, names, pace.patience)
    with temporary_settings({PREFECT_API_URL: url}):
        anyio.run(_work, settings, url, tuple(names), pace)
    # Their processes are gone: the next worker should not have to find that out first.
    with suppress(ServerUnavailable):
        look_after(settings, url, names, _AT_ONCE)


async def _work(settings: Settings, url: str, names: Sequence[str], pace: Pace) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(_run_due, names, pace)
        group.start_soon(_look_after, settings, url, names, pace)
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for _ in signals:
                group.cancel_scope.cancel()
                break


async def _run_due(names: Sequence[str], pace: Pace) -> None:
    name = f"whitecrow-{socket.gethostname()}-{os.getpid()}"
    while True:
        worker = ProcessWorker(work_pool_name=POOL, work_queues=list(names) or None, name=name)
        try:
            await worker.start(printer=logger.info)
        except Exception as error:  # noqa: BLE001 - a worker that ends runs nothing
            logger.warning("Prefect's worker is started again", extra={"why": repr(error)})
        await anyio.sleep(pace.restart)


async def _look_after(settings: Settings, url: str, names: Sequence[str], pace: Pace) -> None:
    while True:
        await anyio.sleep(pace.upkeep)
        await to_thread.run_sync(partial(_look_after_once, settings, url, names, pace))


def _look_after_once(settings: Settings, url: str, names: Sequence[str], pace: Pace) -> None:
    try:
        found = ensure_server(settings)
        if found != url:
            logger.warning("Prefect's server is elsewhere now; start the worker again")
        look_after(settings, url, names, pace.patience)
        tell_silences(settings, names)
    except WhitecrowError as error:
        # It is tried again before long; nothing that is written down is lost.
        logger.warning("%s", error)

"""What a worker looks after beside running what is due, again and again.

The server's copies of the schedules; runs that were cut off; moments that the server lost or never
planned, because it was away. Each of it can be done by several workers at once.
"""

import logging
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from prefect.client.schemas.objects import FlowRun, StateType

from flows.scheduling.book import RunState, ScheduleBook, ScheduledRun
from flows.scheduling.deployments import Deployments, moment_of
from flows.scheduling.running import MOST_ATTEMPTS, is_held
from flows.scheduling.schedule import POOL, Schedule
from infra.settings import Settings

logger = logging.getLogger(__name__)

_WAITING = (StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long something may look wrong before it is mended, in seconds.

    Attributes:
        running: A run without its process.
        pending: A run whose process has not begun with it.
        missing: A moment without a run.
    """

    running: float = 60.0
    pending: float = 300.0
    missing: float = 60.0


def look_after(
    settings: Settings, url: str, names: Collection[str] = (), patience: Patience | None = None
) -> None:
    """Mend what a crash, a restart or an outage left.

    Args:
        settings: Where the state is.
        url: Of the server's API.
        names: Models to look after; all where there are none.
        patience: How long something may look wrong.

    Raises:
        ServerUnavailable: If the server does not answer.
    """
    book = ScheduleBook(settings.database)
    with Deployments.at(url) as deployments:
        for schedule in book.schedules():
            if not names or schedule.name in names:
                _Upkeep(settings, book, deployments, schedule, patience or Patience()).mend()


@dataclass(frozen=True, slots=True)
class _Upkeep:
    settings: Settings
    book: ScheduleBook
    deployments: Deployments
    schedule: Schedule
    patience: Patience

    def mend(self) -> None:
        copy = self.deployments.find(self.schedule.key)
        if copy is None or not self.deployments.is_copied(self.schedule, copy):
            self.deployments.put(self.schedule)
            copy = self.deployments.find(self.schedule.key)
        if copy is None:
            return
        runs = self.deployments.due_runs(copy.id)
        newest = self.schedule.moments.newest(datetime.now(UTC))
        for run in runs:
            self._pass_over(run, newest)
        # Whose process runs elsewhere cannot be known from here; their pools look after them.
        if self.schedule.pool == POOL and not is_held(self.settings, self.schedule.key):
            for run in runs:
                self._mend_run(run)
            self._mend_moments(runs)
        if not self.schedule.paused and not copy.paused:
            self._catch_up(runs, newest)

    def _pass_over(self, run: FlowRun, newest: datetime | None) -> None:
        """Close a late run whose time is over, without starting a process for it."""
        if run.state_type != StateType.SCHEDULED or newest is None:
            return
        moment = moment_of(self.schedule, run)
        # What was asked for beside the cron is done however late it begins.
        is_late = moment < newest and self.schedule.moments.newest(moment) == moment
        if is_late and self.book.run(self.schedule.key, moment) is None:
            why = f"{newest:%Y-%m-%d %H:%M} UTC was due by then"
            self.book.end(self.schedule.key, moment, RunState.PASSED_OVER, why=why)
            self.deployments.close(run, RunState.PASSED_OVER, why)

    def _mend_run(self, run: FlowRun) -> None:
        """Have a run whose process is gone begin again, or say what became of its moment."""
        allowed = {
            StateType.RUNNING: self.patience.running,
            StateType.PENDING: self.patience.pending,
        }
        if run.state is None or run.state.type not in allowed:
            return
        if _age(run.state.timestamp) < allowed[run.state.type]:
            return
        known = self.book.run(self.schedule.key, moment_of(self.schedule, run))
        if known is not None and known.state != RunState.BEGUN:
            self.deployments.close(run, known.state, known.why)
        elif known is None or not self._given_up(known):
            logger.warning("run goes on", extra={"schedule": str(self.schedule.key)})
            self.deployments.resume(run, "Its process was gone.")

    def _mend_moments(self, runs: list[FlowRun]) -> None:
        """Have moments that were begun, and that no run is left for, begin again."""
        for known in self.book.begun(self.schedule.key):
            if known.moment < self.schedule.since:  # a backfill's, which goes on when it is asked
                continue
            if known.changed_at is None or _age(known.changed_at) < self.patience.running:
                continue
            of_moment = [run for run in runs if moment_of(self.schedule, run) == known.moment]
            if any(run.state_type in _WAITING for run in of_moment) or self._given_up(known):
                continue
            logger.warning("moment goes on", extra={"schedule": str(self.schedule.key)})
            if of_moment:
                self.deployments.resume(of_moment[0], "It was cut off.")
            else:
                self.deployments.start(self.schedule, known.moment)

    def _given_up(self, known: ScheduledRun) -> bool:
        if known.attempts < MOST_ATTEMPTS:
            return False
        why = f"It was cut off {known.attempts} times; see its log."
        self.book.end(self.schedule.key, known.moment, RunState.FAILED, why=why)
        return True

    def _catch_up(self, runs: list[FlowRun], newest: datetime | None) -> None:
        """Have the newest moment run where the server does not know of it; older ones are past."""
        if newest is None or newest <= self.schedule.since or _age(newest) < self.patience.missing:
            return
        if self.book.run(self.schedule.key, newest) is not None:
            return
        if not any(moment_of(self.schedule, run) == newest for run in runs):
            logger.warning("missed moment is run", extra={"schedule": str(self.schedule.key)})
            self.deployments.start(self.schedule, newest)


def _age(moment: datetime) -> float:
    return (datetime.now(UTC) - moment) / timedelta(seconds=1)

"""The moments of a schedule that are past, worked off in order, in this process."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from flows.moments import RequestError
from flows.scheduling.book import ScheduledRun
from flows.scheduling.running import run_moment
from flows.scheduling.schedule import Schedule
from flows.scheduling.work import WORK
from infra.errors import Refusal, WhitecrowError
from infra.settings import Settings

OnMoment: TypeAlias = Callable[[ScheduledRun], None]


class BackfillStopped(Refusal):
    """Raised when a moment failed; says which, why, and how to go on."""


@dataclass(frozen=True, slots=True)
class Backfilled:
    """What became of the moments of a backfill, in their order."""

    runs: tuple[ScheduledRun, ...]

    def to_json(self) -> dict[str, Any]:
        """Return it as one JSON object."""
        return {"runs": [run.to_json() for run in self.runs]}


def backfill_schedule(
    settings: Settings,
    schedule: Schedule,
    start: datetime,
    end: datetime,
    *,
    on_moment: OnMoment | None = None,
) -> Backfilled:
    """Work off every moment in ``[start, end]``; what ended well before is not done again.

    Each moment sees what was known at it. An interrupted backfill goes on where it was when it is
    asked for again.

    Args:
        settings: Where the state is.
        schedule: What to do.
        start: First moment.
        end: Last moment.
        on_moment: Told what became of each.

    Raises:
        RequestError: If the cron is not due in that time.
        BackfillStopped: At the first moment that fails; later ones may rest on it.
    """
    moments = list(schedule.moments.between(start, end))
    if not moments:
        raise RequestError(
            f"--backfill: {schedule.cron!r} is not due between {start:%Y-%m-%d %H:%M} and "
            f"{end:%Y-%m-%d %H:%M} UTC. Name a longer time."
        )
    done: list[ScheduledRun] = []
    for moment in moments:
        try:
            run = run_moment(settings, schedule, moment, WORK[schedule.kind], even_if_late=True)
        except WhitecrowError as error:
            raise BackfillStopped(
                f"{schedule.key} at {moment:%Y-%m-%d %H:%M} UTC failed: {error} "
                f"{len(done)} of {len(moments)} moments are done; the same command goes on."
            ) from error
        done.append(run)
        if on_moment is not None:
            on_moment(run)
    return Backfilled(tuple(done))

"""Schedules of which nothing good was heard for some periods."""

import logging
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flows.notifying import Message, notify, read_targets
from flows.scheduling.book import ENDED_WELL, ScheduleBook, ScheduledRun
from flows.scheduling.schedule import Schedule, ScheduleKey
from infra.settings import Settings

logger = logging.getLogger(__name__)

PERIODS = 3


@dataclass(frozen=True, slots=True)
class Silence:
    """A schedule without a success for some periods.

    Attributes:
        key: Which.
        since: The last moment that ended well; None if there never was one.
        periods: How many moments in a row did not.
        last: What became of the newest moment that anything became of.
    """

    key: ScheduleKey
    since: datetime | None
    periods: int
    last: ScheduledRun | None

    @property
    def text(self) -> str:
        """One line that says so."""
        heard = "ever" if self.since is None else f"since {self.since:%Y-%m-%d %H:%M} UTC"
        text = f"{self.key}: no run ended well {heard}, for {self.periods} moments or more."
        if self.last is None:
            return f"{text} None was begun: is whitecrow worker running?"
        why = f": {self.last.why}" if self.last.why else "."
        return f"{text} The last one, {self.last.moment:%Y-%m-%d %H:%M} UTC, {self.last.state}{why}"

    def to_json(self) -> dict[str, Any]:
        """Return it as one JSON object."""
        return {
            "name": self.key.name,
            "kind": str(self.key.kind),
            "since": None if self.since is None else self.since.isoformat(),
            "periods": self.periods,
            "last": None if self.last is None else self.last.to_json(),
            "text": self.text,
        }


def silences(
    settings: Settings, names: Collection[str] = (), *, periods: int = PERIODS
) -> list[Silence]:
    """Return the schedules of whose last moments none ended well.

    A moment counts as soon as the next one is due; one that rightly did nothing ended well. A
    schedule that is paused, or younger than so many moments, is not silent.

    Args:
        settings: Where the state is.
        names: Models to look at; all where there are none.
        periods: How many moments in a row.
    """
    book = ScheduleBook(settings.database)
    found = (
        _silence(book, schedule, periods)
        for schedule in book.schedules()
        if not schedule.paused and (not names or schedule.name in names)
    )
    return [silence for silence in found if silence is not None]


def tell_silences(settings: Settings, names: Collection[str] = ()) -> None:
    """Tell each silence once, to those whom the settings name."""
    book, targets = ScheduleBook(settings.database), read_targets(settings)
    for silence in silences(settings, names):
        since = silence.since or book.get(silence.key).since
        if book.tell_once(silence.key, since):
            logger.error("%s", silence.text)
            subject = f"whitecrow: nothing good of {silence.key} for {silence.periods} moments"
            notify(targets, Message(subject, (silence.text,), silence.to_json()))


def _silence(book: ScheduleBook, schedule: Schedule, periods: int) -> Silence | None:
    passed = schedule.moments.last(periods + 1, datetime.now(UTC))[:-1]
    if len(passed) < periods or passed[0] <= schedule.since:
        return None
    since = book.last(schedule.key, *ENDED_WELL)
    if since is not None and since >= passed[0]:
        return None
    last = next(iter(book.runs(schedule.key, newest=1)), None)
    return Silence(schedule.key, since, periods, last)

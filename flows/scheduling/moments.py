"""The moments of a cron expression, as Prefect's scheduler counts them."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from infra.errors import InputError

# Prefect gives at most 1,000 at once.
_PAGE = 500
_LONGEST_PAST = timedelta(days=5 * 366)


class MomentsError(InputError):
    """Raised when a cron expression or its time zone cannot be read, or is never due."""


@dataclass(frozen=True, slots=True)
class Moments:
    """When a cron expression is due in a time zone, across changes of the clocks.

    Attributes:
        cron: Five fields, or a word such as ``@daily``.
        timezone: IANA name.
    """

    cron: str
    timezone: str = "UTC"

    def check(self) -> None:
        """Make sure that it can be read, and is ever due.

        Raises:
            MomentsError: If not.
        """
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise MomentsError(
                f"--timezone: there is no zone {self.timezone!r}. Write one like Europe/Vienna."
            ) from None
        from prefect.server.schemas.schedules import CronSchedule

        try:
            CronSchedule(cron=self.cron)
        except ValueError:
            raise MomentsError(
                f"--cron: {self.cron!r} cannot be read. "
                'Write five fields like "0 3 * * *", for every day at 3:00.'
            ) from None
        try:
            self._dates(datetime.now(UTC), n=1)
        except ValueError:
            raise MomentsError(f"--cron: {self.cron!r} is never due.") from None

    def between(self, start: datetime, end: datetime) -> Iterator[datetime]:
        """Yield every moment in ``[start, end]`` in order, in UTC."""
        while page := self._dates(start, n=_PAGE, end=end):
            yield from page
            start = page[-1] + timedelta(seconds=1)

    def newest(self, until: datetime) -> datetime | None:
        """Return the last moment that is not after ``until``; None if there was none for years."""
        return next(iter(self.last(1, until)), None)

    def last(self, n: int, until: datetime) -> list[datetime]:
        """Return the last ``n`` moments that are not after ``until``, oldest first."""
        reach = timedelta(hours=1)
        while reach < _LONGEST_PAST:
            found = list(self.between(until - reach, until))
            if len(found) >= n:
                return found[-n:]
            reach *= 2
        return list(self.between(until - _LONGEST_PAST, until))[-n:]

    def after(self, moment: datetime) -> datetime | None:
        """Return the first moment after another."""
        return next(iter(self._dates(moment + timedelta(seconds=1), n=1)), None)

    def _dates(self, start: datetime, *, n: int, end: datetime | None = None) -> list[datetime]:
        # Prefect takes a while to import, and only schedules need it.
        from prefect.server.schemas.schedules import CronSchedule

        cron = CronSchedule(cron=self.cron, timezone=self.timezone)
        dates = asyncio.run(cron.get_dates(n=n, start=start.astimezone(UTC), end=end))
        return [datetime.fromtimestamp(date.timestamp(), UTC) for date in dates]

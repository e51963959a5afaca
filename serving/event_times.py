"""Event times of requests: text with or without an offset, or a number since an origin."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from features.contract_blocks import EventTime

_MICROSECONDS = {
    "us": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "min": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
}
_EXAMPLE = "2018-09-01T10:00:00Z"


class UnreadableTime(ValueError):
    """Raised for a value that is no moment; the text never repeats the value."""


class EventTimeReader:
    """Reads and writes event times as one contract declares them.

    Text is ISO 8601 or the contract's own ``format``; without an offset it is read in the
    contract's time zone; of an hour that a clock showed twice the earlier one is meant. Numbers
    are read where the contract has ``unit`` and ``origin``.
    """

    def __init__(self, event_time: EventTime) -> None:
        self._format = event_time.format
        self._zone = ZoneInfo(event_time.time_zone)
        self._unit = event_time.unit
        self._origin = event_time.origin_utc
        self._scale = None if self._unit is None else microseconds_per(self._unit)
        self.accepted: tuple[type, ...] = (str,) if self._unit is None else (str, int, float)
        number = "" if self._unit is None else f", or a number ({self._unit} since the origin)"
        self.wanted = f"a time like {_EXAMPLE!r}{number}"

    def read(self, value: Any) -> datetime:
        """Return the moment in UTC.

        Raises:
            UnreadableTime: If the value is no moment between the years 1 and 9999.
        """
        try:
            if not isinstance(value, str):
                return self._from_number(value)
            moment = self._from_text(value)
            return moment if moment.tzinfo is UTC else moment.astimezone(UTC)
        except (ValueError, OverflowError):
            raise UnreadableTime(f"not a moment; write {self.wanted}.") from None

    def write(self, moment: datetime) -> str | int | float:
        """Return the moment as a client of this contract would send it."""
        if self._unit is not None and self._origin is not None:
            number = (moment - self._origin) / timedelta(microseconds=microseconds_per(self._unit))
            plain = int(number) if number.is_integer() else number
            if self.read(plain) == moment:
                return plain
        return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")

    def _from_text(self, text: str) -> datetime:
        moment = self._parsed(text)
        if moment.tzinfo is not None:
            return moment
        local = moment.replace(tzinfo=self._zone)
        if local.astimezone(UTC).astimezone(self._zone).replace(tzinfo=None) != moment:
            raise ValueError("no clock in that zone ever showed this time")
        return local

    def _parsed(self, text: str) -> datetime:
        if self._format is not None:
            try:
                return datetime.strptime(text, self._format)  # noqa: DTZ007 - zone follows
            except ValueError:
                pass
        return datetime.fromisoformat(text)

    def _from_number(self, value: float) -> datetime:
        assert self._scale is not None
        assert self._origin is not None
        # The origin is in UTC.
        return self._origin + timedelta(0, 0, round(value * self._scale))


def microseconds_per(unit: str) -> float:
    """Return how many microseconds one of a contract's units lasts."""
    return 1e-3 if unit == "ns" else _MICROSECONDS[unit]

"""Durations as people write them in a contract: ``7d``, ``90min``, ``1h``."""

import re
from datetime import timedelta
from typing import Any

_UNITS = {
    "us": timedelta(microseconds=1),
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "min": timedelta(minutes=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
_PATTERN = re.compile(r"(\d+)(us|ms|s|min|m|h|d|w)")


def parse_duration(value: Any) -> timedelta:
    """Return the duration written as a whole number and a unit.

    Raises:
        ValueError: If the text is anything else.

    Example:
        >>> parse_duration("36h")
        datetime.timedelta(days=1, seconds=43200)
    """
    if isinstance(value, timedelta):
        return value
    match = _PATTERN.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(
            f"a duration is a whole number and a unit, like '7d' or '1h'; got {value!r}"
        )
    try:
        return int(match[1]) * _UNITS[match[2]]
    except OverflowError:
        raise ValueError(f"a duration of {value!r} is too long") from None


def format_duration(duration: timedelta) -> str:
    """Return the shortest text that :func:`parse_duration` reads back as ``duration``.

    Example:
        >>> format_duration(timedelta(hours=36)), format_duration(timedelta(days=7))
        ('36h', '7d')
    """
    for unit in ("d", "h", "min", "s", "ms"):
        if duration % _UNITS[unit] == timedelta(0):
            return f"{duration // _UNITS[unit]}{unit}"
    return f"{duration // _UNITS['us']}us"


def microseconds(duration: timedelta) -> int:
    """Return a duration as whole microseconds, exactly.

    Example:
        >>> microseconds(timedelta(hours=1))
        3600000000
    """
    return duration // timedelta(microseconds=1)

"""Rates: how much a key may ask of one process, as a bucket of tokens that fills with time.

Not the package ``limits``, which counts in windows only: a batch larger than its
window could never pass, and each request would be counted in two of them.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from infra.errors import InputError

_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0}
_SPELLING = re.compile(r"(\d+(?:\.\d+)?)\s*/\s*(s|min|h)")


class UnreadableRate(InputError):
    """Raised for text that is no rate."""


@dataclass(frozen=True, slots=True)
class Rate:
    """So many a second.

    Raises:
        UnreadableRate: If that is not a positive number.
    """

    per_second: float

    def __post_init__(self) -> None:
        if not 0 < self.per_second < math.inf:
            raise UnreadableRate(f"A rate must be positive. Got {self.per_second:g}/s.")

    @classmethod
    def parse(cls, text: str) -> "Rate":
        """Return the rate that a text such as ``100/s``, ``600/min`` or ``5000/h`` spells.

        Raises:
            UnreadableRate: If it spells none.
        """
        found = _SPELLING.fullmatch(text.strip())
        if found is None:
            raise UnreadableRate(f"A rate is written as 100/s, 600/min or 5000/h. Got {text!r}.")
        return cls(float(found[1]) / _SECONDS[found[2]])

    def __str__(self) -> str:
        return f"{self.per_second:g}/s"


class TokenBucket:
    """Lets through what a rate allows; a pause saves up one second's worth, or one piece.

    What is larger than the bucket passes when the bucket is full, and is paid off afterwards.

    Args:
        rate: At which the bucket fills.
        now: A clock that never goes back, in seconds.
    """

    __slots__ = ("_capacity", "_now", "_rate", "_tokens", "_updated")

    def __init__(self, rate: Rate, now: Callable[[], float] = monotonic) -> None:
        self._rate = rate.per_second
        self._capacity = max(rate.per_second, 1.0)
        self._now = now
        self._tokens = self._capacity
        self._updated = now()

    def take(self, n: int = 1) -> float:
        """Take ``n`` tokens and return 0, or take none and return the seconds to wait."""
        now = self._now()
        filled = self._tokens + (now - self._updated) * self._rate
        self._tokens = min(self._capacity, filled)
        self._updated = now
        missing = min(n, self._capacity) - self._tokens
        if missing > 0:
            return missing / self._rate
        self._tokens -= n
        return 0.0

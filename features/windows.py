"""Window arithmetic on sorted events: the only file that knows where a window begins and ends.

Events lie on one axis of whole microseconds, entity after entity, with a gap between two
entities that no window spans. An event that counts for moments in ``(start, end]`` is in a sum
iff ``start < t <= end``; so every sum over a trailing window ``[t - w, t)`` is the difference
of two positions in sorted arrays, and no event of the same instant or later can enter.

Everything here is exact: whole numbers in, whole numbers out, one rounding where a float is said.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.durations import microseconds

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

_LARGEST_KEY = 2**62
_BEYOND_INT64 = 2**63


@dataclass(frozen=True, slots=True)
class Axis:
    """Where entities and moments lie on the axis.

    Attributes:
        first: The earliest moment, in microseconds since 1970-01-01 UTC.
        stride: Microseconds between the same moment of one entity and of the next.
    """

    first: int
    stride: int

    @classmethod
    def spanning(cls, first: int, last: int, *, longest: int) -> "Axis":
        """Return an axis for moments with gaps between entities that no window reaches over.

        Args:
            first: Microseconds of the earliest moment.
            last: Microseconds of the latest moment.
            longest: Microseconds of the longest look-back.
        """
        return cls(first, last - first + longest + 1)

    @property
    def capacity(self) -> int:
        """How many entities fit on the axis; at least one."""
        return max(_LARGEST_KEY // self.stride, 1)

    def keys(self, entities: NDArray[np.integer], times: IntArray) -> IntArray:
        """Return the place of each event.

        Args:
            entities: Codes from 0, below ``capacity``.
            times: Microseconds.

        Shape:
            ``(n,)`` and ``(n,)`` -> ``(n,)``
        """
        keys = entities.astype(np.int64)
        keys *= self.stride
        keys += times
        keys -= self.first
        return keys


@dataclass(frozen=True, slots=True)
class Timeline:
    """Events sorted by entity and moment. Made by :meth:`of`.

    Attributes:
        keys: Place of each event, ascending.
        until: Position of the first event of the same entity and instant: what lies before it
            happened strictly before.

    Shape:
        ``(n,)`` each
    """

    keys: IntArray
    until: IntArray

    @classmethod
    def of(cls, sorted_keys: IntArray) -> "Timeline":
        """Return the timeline of ascending places."""
        positions = np.arange(sorted_keys.size)
        positions[1:][sorted_keys[1:] == sorted_keys[:-1]] = 0
        return cls(sorted_keys, np.maximum.accumulate(positions))

    def since(self, window: int) -> IntArray:
        """Return, for each event, the position of the first event in ``[t - window, t)``.

        Where the window is empty, that is ``until``. ``window`` is in microseconds.
        """
        return _places_among(self.keys, self.keys - window)

    def elapsed(self, window: int) -> FloatArray:
        """Return microseconds since the last event before; NaN where none is in the window."""
        last = self.keys[np.maximum(self.until - 1, 0)]
        elapsed = (self.keys - last).astype(np.float64)
        elapsed[(elapsed > window) | (self.until == 0)] = np.nan
        return elapsed

    def holding(self, starts: IntArray, ends: IntArray) -> IntArray:
        """Return, for each event, how many intervals ``(start, end]`` hold its place.

        Args:
            starts: Places, in any order; no start beyond its end.
            ends: Places, in any order, one for each start.

        Shape:
            ``(m,)`` and ``(m,)`` -> ``(n,)``
        """
        begun = _places_among(_ascending(starts), self.keys)
        begun -= _places_among(_ascending(ends), self.keys)
        return begun


def _places_among(keys: IntArray, sought: IntArray) -> IntArray:
    """Return what ``np.searchsorted(keys, sought)`` does, for ascending ``sought``.

    Numpy's stable sort merges the two runs in one pass, in half the time of a binary search for
    each. Of equals, what is sought comes first.
    """
    order = np.argsort(np.concatenate([sought, keys]), kind="stable")
    places = np.flatnonzero(order < sought.size)
    places -= np.arange(sought.size)
    return places


def _ascending(places: IntArray) -> IntArray:
    return places if bool((places[1:] >= places[:-1]).all()) else np.sort(places)


class TrailingWindows:
    """The windows ``[t - w, t)`` of every event of a timeline, each length found once.

    Args:
        timeline: The events.
    """

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline
        self.until = timeline.until
        self._since: dict[timedelta, IntArray] = {}

    def since(self, window: timedelta) -> IntArray:
        """Return the first position of each window; ``until`` is where it ends."""
        if window not in self._since:
            self._since[window] = self.timeline.since(microseconds(window))
        return self._since[window]

    def count(self, window: timedelta) -> IntArray:
        """Return how many events each window holds."""
        return self.until - self.since(window)


class RunningTotal:
    """Exact totals of a whole-number column over any window.

    Args:
        values: Of each event; totals beyond int64 wrap, and their differences are right again.
        windows: Of the same events.
    """

    def __init__(
        self, values: NDArray[np.integer] | NDArray[np.bool_], windows: TrailingWindows
    ) -> None:
        self._sums = np.zeros(values.size + 1, dtype=np.int64)
        np.cumsum(values, dtype=np.int64, out=self._sums[1:])
        self._windows = windows
        self._until = self._sums[windows.until]

    def of(self, window: timedelta) -> IntArray:
        """Return the total of each event's window."""
        return self._until - self._sums[self._windows.since(window)]


class DistinctValues:
    """How many different values windows hold: an occurrence counts until the next of its value.

    Args:
        values: Code of each event's value, from 0; below 0 where it has none.
        entities: Code of each event's entity.
        windows: Of the same events.
    """

    def __init__(self, values: IntArray, entities: IntArray, windows: TrailingWindows) -> None:
        has_value = values >= 0
        at = np.flatnonzero(has_value)
        self._timeline = windows.timeline
        self._keys = windows.timeline.keys[at]
        self._following = _next_of_same_value(self._keys, entities[at], values[at])
        begun = np.zeros(values.size + 1, dtype=np.int64)
        np.cumsum(has_value, out=begun[1:])
        self._begun = begun[windows.until]

    def of(self, window: timedelta) -> IntArray:
        """Return the number of different values in each event's window."""
        ends = np.minimum(self._keys + microseconds(window), self._following)
        return self._begun - _places_among(np.sort(ends), self._timeline.keys)


def _next_of_same_value(keys: IntArray, entities: IntArray, values: IntArray) -> IntArray:
    """Return the place at which an entity's value occurs next; the largest int64 where never."""
    pairs = entities * (int(values.max(initial=0)) + 1) + values
    order = np.argsort(pairs, kind="stable")
    following = np.full(keys.size, np.iinfo(np.int64).max)
    is_same = pairs[order[1:]] == pairs[order[:-1]]
    following[order[:-1][is_same]] = keys[order[1:][is_same]]
    return following


def sliding_maxima(
    values: IntArray, windows: TrailingWindows, lengths: Sequence[timedelta], *, empty: int
) -> dict[timedelta, IntArray]:
    """Return the largest value of each event's window, for several lengths, by doubling.

    Args:
        values: Whole numbers, one for each event.
        windows: Of the same events.
        lengths: The windows to answer for; they share the work.
        empty: What an empty window gives.

    Shape:
        ``(n,)`` -> ``(n,)`` for each length
    """
    counts = {length: windows.count(length) for length in lengths}
    found = {length: np.full(values.size, empty, dtype=np.int64) for length in lengths}
    longest = max((int(count.max(initial=0)) for count in counts.values()), default=0)
    # maxima[i] is the largest of values[i : i + size].
    maxima, size = values, 1
    while size <= longest:
        for length, count in counts.items():
            at = np.flatnonzero((count >= size) & (count < 2 * size))
            first, last = windows.since(length)[at], windows.until[at] - size
            found[length][at] = np.maximum(maxima[first], maxima[last])
        maxima = np.maximum(maxima[:-size], maxima[size:])
        size *= 2
    return found


class SlidingSpread:
    """``n * sum(x^2) - sum(x)^2`` over any window, exact before the one rounding to float.

    Args:
        values: Whole numbers, one for each event, 0 where there is none.
        windows: Of the same events.
    """

    def __init__(self, values: IntArray, windows: TrailingWindows) -> None:
        self._values, self._windows = values, windows
        self._largest = max(int(values.max(initial=0)), -int(values.min(initial=0)))

    def of(self, window: timedelta, counts: IntArray, totals: IntArray) -> FloatArray:
        """Return the spread of each event's window, given its count and total of numbers."""
        if (self._largest * int(counts.max(initial=0))) ** 2 < _BEYOND_INT64:
            return (counts * self._squares.of(window) - totals * totals).astype(np.float64)
        # 128 bits hold ten million amounts of 10^12 each.
        wide = self._wide_squares.gather(self._windows.until)
        wide -= self._wide_squares.gather(self._windows.since(window))
        count, total = (pl.Series(part).cast(pl.Int128) for part in (counts, totals))
        return (wide * count - total * total).cast(pl.Float64).to_numpy()

    @cached_property
    def _squares(self) -> RunningTotal:
        return RunningTotal(self._values * self._values, self._windows)

    @cached_property
    def _wide_squares(self) -> pl.Series:
        wide = pl.Series(self._values).cast(pl.Int128)
        return pl.Series([0], dtype=pl.Int128).append((wide * wide).cum_sum())

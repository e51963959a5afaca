"""Segments: events of one entity as packed columns, the unit that the SQLite state reads.

Packed, an event takes 8 bytes of time, 4 of amount (8 where one of the segment needs them),
8 for each value column, and 8 for its label report once one of the segment has any.
"""

import struct
import sys
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import NamedTuple, Self

from features.online.past import MISSING, EntityLayout, EntityPast

BYTE_ORDER = sys.byteorder
"""Part of the format: columns are packed as this machine keeps them."""

_HEAD = struct.Struct("=IB")
_WIDE_AMOUNTS = 1
_REPORTS = 2
_LARGEST_NARROW = 2**31 - 1


class Record(NamedTuple):
    """What one event adds to the segment of one of its entities."""

    time: int
    amount: int
    values: Sequence[int]
    report: int


class Segment:
    """Events in ascending order of time; of one instant in any order."""

    __slots__ = ("amounts", "reports", "times", "values")

    def __init__(
        self,
        times: "array[int]",
        amounts: "array[int]",
        values: "tuple[array[int], ...]",
        reports: "array[int]",
    ) -> None:
        self.times = times
        self.amounts = amounts
        self.values = values
        self.reports = reports

    @classmethod
    def empty(cls, layout: EntityLayout) -> Self:
        """Return a segment without events."""
        values = tuple(array("q") for _ in layout.values)
        return cls(array("q"), array("i"), values, array("q"))

    @classmethod
    def unpack(cls, packed: bytes, layout: EntityLayout) -> Self:
        """Return what :meth:`pack` packed."""
        n, flags = _HEAD.unpack_from(packed)
        at, end = _HEAD.size, _HEAD.size + 8 * n
        times = array("q", packed[at:end])
        code, width = ("q", 8) if flags & _WIDE_AMOUNTS else ("i", 4)
        at, end = end, end + width * n if layout.amounts else end
        amounts = array(code, packed[at:end])
        values = []
        for _ in layout.values:
            at, end = end, end + 8 * n
            values.append(array("q", packed[at:end]))
        reports = array("q", packed[end : end + 8 * n] if flags & _REPORTS else b"")
        return cls(times, amounts, tuple(values), reports)

    def __len__(self) -> int:
        return len(self.times)

    @property
    def past(self) -> EntityPast:
        """The segment as the evaluator reads it, without a copy."""
        return EntityPast(self.times, self.amounts, self.values, self.reports)

    def pack(self) -> bytes:
        """Return the columns as bytes."""
        flags = _WIDE_AMOUNTS if self.amounts.typecode == "q" else 0
        if self.reports:
            flags |= _REPORTS
        head = _HEAD.pack(len(self.times), flags)
        columns = (self.times, self.amounts, *self.values, self.reports)
        return head + b"".join([column.tobytes() for column in columns])

    def insert(self, record: Record, *, has_amounts: bool) -> None:
        """Put an event at its place in time."""
        at = bisect_right(self.times, record.time)
        if has_amounts:
            if not -_LARGEST_NARROW <= record.amount <= _LARGEST_NARROW:
                self.widen()
            self.amounts.insert(at, record.amount)
        if self.reports or record.report != MISSING:
            self.make_reports()
            self.reports.insert(at, record.report)
        self.times.insert(at, record.time)
        for column, code in zip(self.values, record.values, strict=True):
            column.insert(at, code)

    def replace_report(self, time: int, old: int, new: int) -> bool:
        """Give one event of an instant, with this report so far, another; return whether one had.

        Events of one entity and one instant are alike to every feature of labels, so it need
        not be known which of them the report is about.
        """
        at, end = bisect_left(self.times, time), bisect_right(self.times, time)
        if at == end or (old != MISSING and not self.reports):
            return False
        self.make_reports()
        for place in range(at, end):
            if self.reports[place] == old:
                self.reports[place] = new
                return True
        return False

    def drop_before(self, cutoff: int) -> int:
        """Drop the events before a moment and return how many there were."""
        n = bisect_left(self.times, cutoff)
        if n:
            self._keep(slice(n, None))
        return n

    def split(self, at: int) -> "Segment":
        """Keep the events from a position on and return those before it."""
        head = Segment(
            self.times[:at],
            self.amounts[:at],
            tuple(column[:at] for column in self.values),
            self.reports[:at],
        )
        self._keep(slice(at, None))
        return head

    def extend(self, later: "Segment") -> None:
        """Append the events of a segment that begins where this one ends, or after it."""
        if later.amounts.typecode != self.amounts.typecode:
            self.widen()
            later.widen()
        if self.reports or later.reports:
            self.make_reports()
            later.make_reports()
        self.times.extend(later.times)
        self.amounts.extend(later.amounts)
        self.reports.extend(later.reports)
        for mine, its in zip(self.values, later.values, strict=True):
            mine.extend(its)

    def joined(self, later: "Segment") -> "Segment":
        """Return a new segment of this one's events and those of one that follows it."""
        values = tuple(column[:] for column in self.values)
        both = Segment(self.times[:], self.amounts[:], values, self.reports[:])
        both.extend(later)
        return both

    def _keep(self, kept: slice) -> None:
        self.times = self.times[kept]
        self.amounts = self.amounts[kept]
        self.values = tuple(column[kept] for column in self.values)
        self.reports = self.reports[kept]

    def widen(self) -> None:
        """Make room for amounts of 64 bits."""
        if self.amounts.typecode == "i":
            self.amounts = array("q", self.amounts)

    def make_reports(self) -> None:
        """Make room for reports, none of which has come."""
        if not self.reports:
            self.reports = array("q", [MISSING]) * len(self.times)

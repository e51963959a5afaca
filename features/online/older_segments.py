"""Older segments: where the SQLite state keeps what of a hot entity does not fit one row."""

import sqlite3

from features.online.past import EntityLayout
from features.online.segment import Record, Segment

SCHEMA = """
CREATE TABLE IF NOT EXISTS older (
    rowid INTEGER PRIMARY KEY,
    entity INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    size INTEGER NOT NULL,
    packed BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS older_in_time ON older (entity, first, last);
"""

# A segment and its row stay within one page of 4 KiB.
_SEGMENT_BYTES = 3_800
_BYTES_BY_COLUMN = 8

_SELECT = "SELECT rowid, packed FROM older WHERE entity = ? "


class OlderSegments:
    """The older segments of every hot entity; those of one follow each other in time.

    Args:
        connection: Inside a transaction.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def read(self, entity: int, layout: EntityLayout) -> Segment:
        """Return all older events of an entity, in order of time."""
        events = Segment.empty(layout)
        for _, packed in self._connection.execute(_SELECT + "ORDER BY first, last", (entity,)):
            events.extend(Segment.unpack(packed, layout))
        return events

    def add(self, entity: int, segment: Segment) -> None:
        """Store a segment."""
        self._connection.execute(
            "INSERT INTO older (entity, first, last, size, packed) VALUES (?, ?, ?, ?, ?)",
            (entity, segment.times[0], segment.times[-1], len(segment), segment.pack()),
        )

    def insert(self, entity: int, layout: EntityLayout, record: Record) -> None:
        """Put an event into the segment that its moment falls into."""
        rowid, segment = self._around(entity, layout, record.time)
        segment.insert(record, has_amounts=layout.amounts)
        if len(segment) > capacity(layout):
            self.add(entity, segment.split(len(segment) // 2))
        self._replace(rowid, segment)

    def replace_report(
        self, entity: int, layout: EntityLayout, time: int, old: int, new: int
    ) -> bool:
        """Record a label report of an event; return whether the event was there."""
        where = "AND first <= ? AND last >= ?"
        for rowid, packed in self._connection.execute(_SELECT + where, (entity, time, time)):
            segment = Segment.unpack(packed, layout)
            if segment.replace_report(time, old, new):
                self._replace(rowid, segment)
                return True
        return False

    def drop_before(self, entity: int, cutoff: int) -> int:
        """Drop the segments that end before a moment and return how many events they held."""
        dropped = self._connection.execute(
            "DELETE FROM older WHERE entity = ? AND last < ? RETURNING size", (entity, cutoff)
        )
        return sum([size for (size,) in dropped.fetchall()])

    def first_end(self, entity: int) -> int:
        """Return the moment at which the first segment of an entity ends."""
        ends = "SELECT last FROM older WHERE entity = ? ORDER BY first, last LIMIT 1"
        end: int = self._connection.execute(ends, (entity,)).fetchone()[0]
        return end

    def _around(self, entity: int, layout: EntityLayout, time: int) -> tuple[int, Segment]:
        """Return the last segment that begins by a moment; the first one where none does."""
        begun = "AND first <= ? ORDER BY first DESC, last DESC LIMIT 1"
        found = self._connection.execute(_SELECT + begun, (entity, time)).fetchone()
        if found is None:
            first = "ORDER BY first, last LIMIT 1"
            found = self._connection.execute(_SELECT + first, (entity,)).fetchone()
        rowid, packed = found
        return rowid, Segment.unpack(packed, layout)

    def _replace(self, rowid: int, segment: Segment) -> None:
        self._connection.execute(
            "UPDATE older SET first = ?, last = ?, size = ?, packed = ? WHERE rowid = ?",
            (segment.times[0], segment.times[-1], len(segment), segment.pack(), rowid),
        )


def capacity(layout: EntityLayout) -> int:
    """Return how many events a segment may hold at most."""
    n_columns = 1 + layout.amounts + len(layout.values) + layout.labels
    return _SEGMENT_BYTES // (_BYTES_BY_COLUMN * n_columns)

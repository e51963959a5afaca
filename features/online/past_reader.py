"""Reading the past of rows from the SQLite state: one statement for all ordinary entities."""

import sqlite3
from collections import OrderedDict
from collections.abc import Sequence

from features.online.entity_rows import marks, rows_of
from features.online.events import Event
from features.online.older_segments import OlderSegments
from features.online.past import EntityLayout, EntityPast, Past, layout_number, no_events
from features.online.segment import Segment

_SELECT = "SELECT key, n, n_older, version, packed FROM entity WHERE key IN "
# Events of hot entities that are kept in memory; at most 28 bytes each with one value column.
_MOST_CACHED = 4_000_000

_Found = tuple[str, int, int, int, bytes]


class PastReader:
    """Reads the past of rows; what is older of hot entities is kept in memory.

    Args:
        connection: In autocommit mode.
        layouts: By the number that an entity's key begins with.
    """

    def __init__(self, connection: sqlite3.Connection, layouts: Sequence[EntityLayout]) -> None:
        self._connection = connection
        self._layouts = layouts
        self._select_one = _SELECT + f"({marks(len(layouts))})"
        self._nothing = [no_events(layout) for layout in layouts]
        self._cache = _HotCache()

    def past(self, events: Sequence[Event]) -> list[Past]:
        """Return the past of each event."""
        keys = [[layout.key_of(event) for layout in self._layouts] for event in events]
        if len(keys) == 1:
            rows = self._connection.execute(self._select_one, keys[0]).fetchall()
        else:
            wanted = {key for of_event in keys for key in of_event if key is not None}
            rows = list(rows_of(self._connection, _SELECT, sorted(wanted)))
        known = {row[0]: self._entity_past(row) for row in rows}
        return [
            tuple(
                [
                    None if key is None else known.get(key) or nothing
                    for key, nothing in zip(of_event, self._nothing, strict=True)
                ]
            )
            for of_event in keys
        ]

    def _entity_past(self, row: _Found) -> EntityPast:
        key, n, n_older, version, packed = row
        layout = self._layouts[layout_number(key)]
        if not n_older:
            return Segment.unpack(packed, layout).past
        older = self._cache.get(n, version)
        if older is None:
            return self._hot_past(key, layout)
        return older.joined(Segment.unpack(packed, layout)).past

    def _hot_past(self, key: str, layout: EntityLayout) -> EntityPast:
        """Read both tables as they were at one moment, and remember the older part."""
        self._connection.execute("BEGIN")
        try:
            row = self._connection.execute(_SELECT + "(?)", (key,)).fetchone()
            if row is None:
                return no_events(layout)
            _, n, _, version, packed = row
            older = OlderSegments(self._connection).read(n, layout)
        finally:
            self._connection.execute("COMMIT")
        self._cache.put(n, version, older)
        return older.joined(Segment.unpack(packed, layout)).past


class _HotCache:
    """The older events of the hot entities that were read last."""

    def __init__(self) -> None:
        self._segments: OrderedDict[int, tuple[int, Segment]] = OrderedDict()
        self._n_events = 0

    def get(self, n: int, version: int) -> Segment | None:
        known = self._segments.get(n)
        if known is None or known[0] != version:
            return None
        self._segments.move_to_end(n)
        return known[1]

    def put(self, n: int, version: int, older: Segment) -> None:
        replaced = self._segments.pop(n, None)
        self._n_events += len(older) - (len(replaced[1]) if replaced else 0)
        self._segments[n] = (version, older)
        while self._n_events > _MOST_CACHED and len(self._segments) > 1:
            _, (_, oldest) = self._segments.popitem(last=False)
            self._n_events -= len(oldest)

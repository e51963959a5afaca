"""Entity rows: where the SQLite state keeps each entity's events.

An ordinary entity is one row of table ``entity`` that holds all its events in one segment, so a
read is one row. An entity with more events than fit is *hot*: its newest events stay in that row
and the older ones are moved to table ``older``, in segments that follow each other in time.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from features.online.events import json_list
from features.online.forgetting import ForgottenEntity
from features.online.older_segments import SCHEMA as OLDER_SCHEMA
from features.online.older_segments import OlderSegments, capacity
from features.online.past import EntityLayout, key_text, layout_number
from features.online.segment import Record, Segment
from features.online.state import HotEntity

SCHEMA = f"""
CREATE TABLE IF NOT EXISTS entity (
    n INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    due INTEGER NOT NULL,          -- something can be dropped once the cutoff has passed this
    n_older INTEGER NOT NULL,      -- events in table older
    version INTEGER NOT NULL,      -- of what table older holds of this entity
    packed BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS hot ON entity (n_older) WHERE n_older > 0;
{OLDER_SCHEMA}
"""

# Parameters of one statement.
_KEYS_AT_ONCE = 500
# Of a full segment, one event in this many stays when the others are moved.
_KEPT_WHEN_MOVING = 4
# An entity is trimmed while idle once its oldest event has outstayed this part of its time.
_IDLE_SHARE = 4

_SELECT = "SELECT key, n, due, n_older, version, packed FROM entity WHERE "


@dataclass(slots=True)
class EntityRow:
    """One entity while a transaction changes it.

    Attributes:
        n: Number of the row.
        key: What ``EntityLayout.key_of`` returned.
        layout: What is stored of its events.
        retention: How long they are kept, in microseconds.
        newest: Its newest events; all of them, unless it is hot.
        due: The cutoff from which on something can be dropped.
        n_older: Events in table ``older``.
        version: Changes with what table ``older`` holds of it.
    """

    n: int
    key: str
    layout: EntityLayout
    retention: int
    newest: Segment
    due: int
    n_older: int
    version: int
    is_new: bool = False
    is_changed: bool = False
    is_older_changed: bool = False


class EntityRows:
    """The entities that one transaction reads and changes; written back at its end.

    Args:
        connection: Inside ``BEGIN IMMEDIATE``.
        layouts: By the number that an entity's key begins with.
        retentions: By layout, how long events are kept, in microseconds.
        newest: Newest event time applied so far; the caller moves it on.

    Attributes:
        n_begun: Entities that had no events before.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        layouts: Sequence[EntityLayout],
        retentions: Sequence[int],
        newest: int,
    ) -> None:
        self.newest = newest
        self.n_begun = 0
        self._connection = connection
        self._layouts = layouts
        self._retentions = retentions
        self._older = OlderSegments(connection)
        self._by_key: dict[str, EntityRow] = {}
        self._next_n = 0

    def fetch(self, keys: Iterable[str]) -> None:
        """Read the rows of these entities, many at a time."""
        wanted = [key for key in dict.fromkeys(keys) if key not in self._by_key]
        for row in rows_of(self._connection, f"{_SELECT} key IN", wanted):
            self._keep(row)

    def find(self, key: str) -> EntityRow | None:
        """Return a fetched entity; None where it has no events."""
        return self._by_key.get(key)

    def find_or_begin(self, key: str) -> EntityRow:
        """Return a fetched entity; a new one where it had no events."""
        return self._by_key.get(key) or self._begin(key)

    def insert(self, entity: EntityRow, record: Record) -> None:
        """Put an event into the past of an entity, unless no feature can look back to it."""
        if record.time < self._cutoff(entity):
            return
        newest = entity.newest
        if not entity.n_older or record.time >= newest.times[0]:
            newest.insert(record, has_amounts=entity.layout.amounts)
            entity.is_changed = True
        else:
            self._older.insert(entity.n, entity.layout, record)
            entity.n_older += 1
            entity.is_older_changed = True

    def replace_report(self, entity: EntityRow, time: int, old: int, new: int) -> None:
        """Record a label report of an event of an entity, if the event is still there."""
        if entity.newest.replace_report(time, old, new):
            entity.is_changed = True
        elif entity.n_older and self._older.replace_report(entity.n, entity.layout, time, old, new):
            entity.is_older_changed = True

    def trim(self, entity: EntityRow) -> None:
        """Drop the events that no feature can look back to."""
        cutoff = self._cutoff(entity)
        if cutoff <= entity.due:
            return
        if entity.n_older and (n_dropped := self._older.drop_before(entity.n, cutoff)):
            entity.n_older -= n_dropped
            entity.is_older_changed = True
        if not entity.n_older:
            entity.newest.drop_before(cutoff)
        entity.is_changed = True

    def trim_next(self, after: int, n: int, *, only_idle: bool) -> int:
        """Trim the next ``n`` entities in the order of their rows.

        Args:
            after: Number of the last row that was looked at.
            n: Number of rows to look at.
            only_idle: Leave those that have little to drop: their next event will.

        Returns:
            The number of the last row that was looked at; 0 at the end of the table.
        """
        where = "SELECT n, key, due FROM entity WHERE n > ? ORDER BY n LIMIT ?"
        found = self._connection.execute(where, (after, n)).fetchall()
        grace = [kept // _IDLE_SHARE if only_idle else 0 for kept in self._retentions]
        cutoffs = [
            self.newest - kept - extra for kept, extra in zip(self._retentions, grace, strict=True)
        ]
        expired = [key for _, key, due in found if due < cutoffs[layout_number(key)]]
        self.fetch(expired)
        for key in expired:
            self.trim(self._by_key[key])
        return found[-1][0] if len(found) == n else 0

    def write_back(self) -> None:
        """Write every changed entity, without the events that have expired."""
        for entity in self._by_key.values():
            if not entity.is_changed and not entity.is_older_changed:
                continue
            self.trim(entity)
            if len(entity.newest) > capacity(entity.layout):
                self._move_to_older(entity)
            self._write(entity)

    def _cutoff(self, entity: EntityRow) -> int:
        return self.newest - entity.retention

    def _keep(self, row: tuple[str, int, int, int, int, bytes]) -> EntityRow:
        key, n, due, n_older, version, packed = row
        number = layout_number(key)
        layout, retention = self._layouts[number], self._retentions[number]
        newest = Segment.unpack(packed, layout)
        entity = EntityRow(n, key, layout, retention, newest, due, n_older, version)
        self._by_key[key] = entity
        return entity

    def _begin(self, key: str) -> EntityRow:
        if not self._next_n:
            last = self._connection.execute("SELECT max(n) FROM entity").fetchone()[0]
            self._next_n = (last or 0) + 1
        number = layout_number(key)
        layout, retention = self._layouts[number], self._retentions[number]
        n, self._next_n = self._next_n, self._next_n + 1
        newest = Segment.empty(layout)
        entity = EntityRow(n, key, layout, retention, newest, 0, 0, 0, is_new=True)
        self._by_key[key] = entity
        self.n_begun += 1
        return entity

    def _move_to_older(self, entity: EntityRow) -> None:
        most = capacity(entity.layout)
        n_kept = most // _KEPT_WHEN_MOVING
        while len(entity.newest) > n_kept:
            part = entity.newest.split(min(len(entity.newest) - n_kept, most))
            self._older.add(entity.n, part)
            entity.n_older += len(part)
        entity.is_older_changed = True

    def _write(self, entity: EntityRow) -> None:
        if not entity.newest:
            self._connection.execute("DELETE FROM entity WHERE n = ?", (entity.n,))
            return
        entity.due = self._due(entity)
        entity.version += entity.is_older_changed
        if entity.is_new:
            self._connection.execute(
                "INSERT INTO entity (n, key, due, n_older, version, packed) VALUES (?,?,?,?,?,?)",
                (entity.n, entity.key, entity.due, entity.n_older, entity.version,
                 entity.newest.pack()),
            )  # fmt: skip
        elif entity.is_older_changed:
            self._connection.execute(
                "UPDATE entity SET due = ?, packed = ?, n_older = ?, version = ? WHERE n = ?",
                (entity.due, entity.newest.pack(), entity.n_older, entity.version, entity.n),
            )
        else:
            # The index of hot entities is left alone: nothing that it holds has changed.
            self._connection.execute(
                "UPDATE entity SET due = ?, packed = ? WHERE n = ?",
                (entity.due, entity.newest.pack(), entity.n),
            )

    def _due(self, entity: EntityRow) -> int:
        if not entity.n_older:
            return entity.newest.times[0]
        if not entity.is_older_changed:
            return entity.due
        return self._older.first_end(entity.n)


def hottest(
    connection: sqlite3.Connection, layouts: Sequence[EntityLayout], n: int
) -> list[HotEntity]:
    """Return the ``n`` hot entities with the most events, largest first."""
    where = "n_older > 0 ORDER BY n_older DESC LIMIT ?"
    found = []
    for key, _, _, n_older, _, packed in connection.execute(_SELECT + where, (n,)):
        layout = layouts[layout_number(key)]
        n_events = n_older + len(Segment.unpack(packed, layout))
        found.append(HotEntity(layout.entity, key_text(layout, key), n_events))
    return sorted(found, key=lambda hot: hot.n_events, reverse=True)


def forget(connection: sqlite3.Connection, forgotten: ForgottenEntity) -> int:
    """Delete the entities about one value, inside a transaction; return how many there were."""
    found = list(rows_of(connection, "SELECT n, key FROM entity WHERE key IN", forgotten.alone))
    for prefix in forgotten.paired:
        query = "SELECT n, key FROM entity WHERE key >= ? AND key < ?"
        pairs = connection.execute(query, (prefix, prefix[:-1] + ";"))
        found += [row for row in pairs if forgotten.is_named(row[1])]
    for n, key in found:
        connection.execute("DELETE FROM older WHERE entity = ?", (n,))
        connection.execute("DELETE FROM entity WHERE n = ?", (n,))
        # Labels of its events have nowhere to go any more.
        query = "SELECT id, places FROM event WHERE instr(places, ?) > 0"
        for event_id, places in connection.execute(query, (json_list([key])[1:-1],)).fetchall():
            left = [place for place in json.loads(places) if place != key]
            changed = json_list(left) if left else None
            connection.execute("UPDATE event SET places = ? WHERE id = ?", (changed, event_id))
    return len(found)


def rows_of(connection: sqlite3.Connection, select: str, keys: Sequence[str]) -> Iterator[Any]:
    """Yield what a statement that ends with ``IN`` finds of many keys, some at a time."""
    for at in range(0, len(keys), _KEYS_AT_ONCE):
        part = keys[at : at + _KEYS_AT_ONCE]
        yield from connection.execute(f"{select} ({marks(len(part))})", part)


def marks(n: int) -> str:
    """Return ``n`` question marks, for values of a statement."""
    return ",".join("?" * n)

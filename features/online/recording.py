"""Recording events and labels within one transaction of the SQLite state."""

import json
import sqlite3
from collections.abc import Sequence

from features.online.entity_rows import EntityRows, rows_of
from features.online.events import Event, LabelReport, json_list
from features.online.past import MISSING, EntityLayout, report_code, stored_amount, value_code
from features.online.segment import Record
from features.online.state import Applied, LabelCounts

SCHEMA = """
CREATE TABLE IF NOT EXISTS event (
    id TEXT PRIMARY KEY,
    digest BLOB,                   -- null: a label came before its event
    time INTEGER NOT NULL,         -- of the event; before it comes, of the report
    report INTEGER,
    places TEXT                    -- keys of the entities whose features look at its label
) WITHOUT ROWID;
"""

_DIGESTS = "SELECT id, digest FROM event WHERE id IN"
_FIND = "SELECT digest, time, report, places FROM event WHERE id = ?"
_ADD = "INSERT OR IGNORE INTO event (id, digest, time, report, places) VALUES (?, ?, ?, NULL, ?)"
_FILL = "UPDATE event SET digest = ?, time = ?, places = ? WHERE id = ?"
_ADD_REPORT = "INSERT INTO event (id, digest, time, report, places) VALUES (?, NULL, ?, ?, NULL)"
_SET_REPORT = "UPDATE event SET report = ? WHERE id = ?"
_ACCEPTED, _DUPLICATE, _UNKNOWN = range(3)


class Recording:
    """What one transaction does to ids and entities.

    Args:
        connection: Inside ``BEGIN IMMEDIATE``.
        layouts: What is stored of each entity.
        rows: The entities of the transaction, which writes them back.
        retention: How long ids are remembered, in microseconds.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        layouts: Sequence[EntityLayout],
        rows: EntityRows,
        retention: int,
    ) -> None:
        self.rows = rows
        self._connection = connection
        self._layouts = layouts
        self._retention = retention

    def apply(self, events: Sequence[Event]) -> list[Applied]:
        """Store events in order (:meth:`OnlineState.apply`)."""
        keys = [[layout.key_of(event) for layout in self._layouts] for event in events]
        self.rows.fetch([key for of_event in keys for key in of_event if key is not None])
        return [self._apply(event, its) for event, its in zip(events, keys, strict=True)]

    def report(self, reports: Sequence[LabelReport]) -> LabelCounts:
        """Record labels (:meth:`OnlineState.report_labels`)."""
        outcomes = [self._report(report) for report in reports]
        return LabelCounts(*(outcomes.count(n) for n in (_ACCEPTED, _DUPLICATE, _UNKNOWN)))

    def _apply(self, event: Event, keys: Sequence[str | None]) -> Applied:
        is_too_late = event.event_time < self.rows.newest - self._retention
        places = None if is_too_late else self._places(keys)
        digest = event.digest
        added = self._connection.execute(_ADD, (event.id, digest, event.event_time, places))
        report = MISSING
        if not added.rowcount:
            known, _, reported, _ = self._connection.execute(_FIND, (event.id,)).fetchone()
            if known is not None:
                return Applied.DUPLICATE if known == digest else Applied.CONFLICT
            self._connection.execute(_FILL, (digest, event.event_time, places, event.id))
            report = MISSING if reported is None else reported
        if is_too_late:
            return Applied.TOO_LATE
        self.rows.newest = max(self.rows.newest, event.event_time)
        self._insert(event, keys, report)
        return Applied.APPLIED

    def _insert(self, event: Event, keys: Sequence[str | None], report: int) -> None:
        amount = stored_amount(event.amount_minor)
        codes = [value_code(value) for value in event.values]
        for key, layout in zip(keys, self._layouts, strict=True):
            if key is not None:
                values = [codes[position] for position in layout.values]
                its_report = report if layout.labels else MISSING
                record = Record(event.event_time, amount, values, its_report)
                self.rows.insert(self.rows.find_or_begin(key), record)

    def _places(self, keys: Sequence[str | None]) -> str | None:
        looked_at = [
            key
            for key, layout in zip(keys, self._layouts, strict=True)
            if layout.labels and key is not None
        ]
        return json_list(looked_at) if looked_at else None

    def _report(self, report: LabelReport) -> int:
        code = report_code(report)
        found = self._connection.execute(_FIND, (report.id,)).fetchone()
        if found is None:
            if report.reported_at >= self.rows.newest - self._retention:
                row = (report.id, report.reported_at, code)
                self._connection.execute(_ADD_REPORT, row)
            return _UNKNOWN
        digest, event_time, before, places = found
        if before is None or code > before:
            self._connection.execute(_SET_REPORT, (code, report.id))
            if places is not None:
                old = MISSING if before is None else before
                self._replace_report(json.loads(places), event_time, old, code)
        elif digest is not None:
            return _DUPLICATE
        return _UNKNOWN if digest is None else _ACCEPTED

    def _replace_report(self, places: Sequence[str], time: int, old: int, new: int) -> None:
        self.rows.fetch(places)
        for key in places:
            entity = self.rows.find(key)
            if entity is not None:
                self.rows.replace_report(entity, time, old, new)


def find_seen(connection: sqlite3.Connection, events: Sequence[Event]) -> list[Applied | None]:
    """Return what is known of events' ids: DUPLICATE, CONFLICT, or None for a new one."""
    ids = [event.id for event in events]
    digests: dict[str, bytes | None] = dict(rows_of(connection, _DIGESTS, ids))
    if not digests:
        return [None] * len(events)
    return [_found(digests.get(event.id), event) for event in events]


def _found(digest: bytes | None, event: Event) -> Applied | None:
    if digest is None:  # new, or only its label has come
        return None
    return Applied.DUPLICATE if digest == event.digest else Applied.CONFLICT

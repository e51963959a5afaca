"""Expiry: a little of it with every event, so that no request pays for many.

Walks round and round through all ids and all entities. An entity that is busy drops what has
expired whenever its next event comes; the walk finds the idle ones.
"""

import sqlite3
from dataclasses import dataclass

from features.online.entity_rows import EntityRows

# The walk must be faster than what it walks grows: of the ids that stand about one in eight has
# expired, of the entities about one in four.
_IDS_PER_EVENT = 8
_ENTITIES_PER_EVENT = 2
_ENTITIES_PER_NEW_ONE = 4

_END_OF_PART = "SELECT id FROM event WHERE id > ? ORDER BY id LIMIT 1 OFFSET ?"
_DROP_PART = "DELETE FROM event WHERE id > ? AND id <= ? AND time < ?"
_DROP_REST = "DELETE FROM event WHERE id > ? AND time < ?"


@dataclass(slots=True)
class ExpiryWalk:
    """How far the walk has come.

    Attributes:
        last_id: The last id that was looked at; empty at the start.
        last_entity: The last row of an entity that was looked at; 0 at the start.
    """

    last_id: str = ""
    last_entity: int = 0

    def step(
        self, connection: sqlite3.Connection, rows: EntityRows, cutoff: int, n: int, *, n_new: int
    ) -> None:
        """Look at as many ids and entities as some events pay for.

        Args:
            connection: Inside a transaction.
            rows: The entities of that transaction, which writes them back.
            cutoff: Ids of events before this moment are forgotten.
            n: Number of events.
            n_new: Number of entities that began with them.
        """
        self.forget_ids(connection, cutoff, n * _IDS_PER_EVENT)
        n_entities = n * _ENTITIES_PER_EVENT + n_new * _ENTITIES_PER_NEW_ONE
        self.trim_entities(rows, n_entities, only_idle=True)

    def trim_entities(self, rows: EntityRows, n: int, *, only_idle: bool) -> None:
        """Drop expired events of the next ``n`` entities."""
        self.last_entity = rows.trim_next(self.last_entity, n, only_idle=only_idle)

    def forget_ids(self, connection: sqlite3.Connection, cutoff: int, n: int) -> int:
        """Forget expired ids among the next ``n`` and return how many there were."""
        end = connection.execute(_END_OF_PART, (self.last_id, n - 1)).fetchone()
        if end is None:
            dropped = connection.execute(_DROP_REST, (self.last_id, cutoff))
            self.last_id = ""
        else:
            dropped = connection.execute(_DROP_PART, (self.last_id, end[0], cutoff))
            self.last_id = end[0]
        return dropped.rowcount

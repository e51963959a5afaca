"""The ledger: an append-only, hash-chained record of what changed and who changed it.

Each entry's hash covers its content and the hash of the entry before it, so that an edit,
a deletion or an insertion breaks the chain at a place that :meth:`Ledger.verify` names.
"""

import json
import sqlite3
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from infra.database import connect, transaction
from infra.errors import Refusal
from infra.storage import canonical_json, sha256_json

_GENESIS = "0" * 64
_SCHEMA = """
CREATE TABLE IF NOT EXISTS ledger (
    sequence INTEGER PRIMARY KEY,
    at TEXT NOT NULL,
    event TEXT NOT NULL,
    subject TEXT NOT NULL,
    actor TEXT NOT NULL,
    reason TEXT NOT NULL,
    details TEXT NOT NULL,
    previous_hash TEXT NOT NULL,
    hash TEXT NOT NULL
)
"""
_INSERT = """
INSERT INTO ledger VALUES
(:sequence, :at, :event, :subject, :actor, :reason, :details, :previous_hash, :hash)
"""


class LedgerBroken(Refusal):
    """Raised when the chain does not verify; names the first entry that fails."""


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One event: what happened to which subject, who did it and why."""

    sequence: int
    at: str
    event: str
    subject: str
    actor: str
    reason: str
    details: dict[str, Any]
    previous_hash: str
    hash: str

    def expected_hash(self) -> str:
        """Return the hash that this entry's content must have."""
        content = asdict(self)
        del content["hash"]
        return sha256_json(content)


class Ledger:
    """The chain in one SQLite file; safe for several processes."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(
        self, event: str, subject: str, *, actor: str, reason: str, details: dict[str, Any]
    ) -> LedgerEntry:
        """Write one entry durably and return it with its place in the chain."""
        # The lock is taken before the last hash is read: two writers never fork the chain.
        with closing(connect(self._path, _SCHEMA)) as connection, transaction(connection):
            last = connection.execute(
                "SELECT sequence, hash FROM ledger ORDER BY sequence DESC LIMIT 1"
            ).fetchone()
            sequence, previous_hash = (last[0] + 1, last[1]) if last else (1, _GENESIS)
            draft = LedgerEntry(
                sequence=sequence,
                at=datetime.now(UTC).isoformat(timespec="microseconds"),
                event=event,
                subject=subject,
                actor=actor,
                reason=reason,
                # Through JSON and back: the hash is taken over what a reader will get.
                details=json.loads(canonical_json(details)),
                previous_hash=previous_hash,
                hash="",
            )
            entry = replace(draft, hash=draft.expected_hash())
            row = {**asdict(entry), "details": canonical_json(entry.details)}
            connection.execute(_INSERT, row)
        return entry

    def entries(self, subject: str | None = None) -> list[LedgerEntry]:
        """Return all entries in order, or those about one subject."""
        with closing(connect(self._path, _SCHEMA)) as connection:
            connection.row_factory = sqlite3.Row
            rows = connection.execute("SELECT * FROM ledger ORDER BY sequence").fetchall()
        found = [LedgerEntry(**{**row, "details": json.loads(row["details"])}) for row in rows]
        return [entry for entry in found if subject in (None, entry.subject)]

    def verify(self) -> int:
        """Return how many entries form an unbroken chain.

        Raises:
            LedgerBroken: At the first entry whose place, link or content is not as written.
        """
        previous_hash = _GENESIS
        entries = self.entries()
        for position, entry in enumerate(entries, start=1):
            intact = entry.sequence == position and entry.previous_hash == previous_hash
            if not intact or entry.hash != entry.expected_hash():
                raise LedgerBroken(
                    f"The ledger is broken at entry {entry.sequence} "
                    f"({entry.event} {entry.subject}): it was changed after it was written, or "
                    "an entry before it is missing. Compare it with a backup."
                )
            previous_hash = entry.hash
        return len(entries)

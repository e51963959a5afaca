"""The ledger: an append-only, hash-chained record of what changed and who changed it.

Each entry's hash covers its content and the hash of the entry before it, so that an edit,
a deletion or an insertion breaks the chain at a place that :meth:`Ledger.verify` names.
It lies in the state folder's SQLite file, or in PostgreSQL (:mod:`infra.postgres_ledger`).
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from infra.database import connect, is_server, transaction
from infra.errors import InputError, Refusal
from infra.settings import Settings
from infra.storage import canonical_json, sha256_json
from infra.verifier.ledger_chain import GENESIS_HASH, LEDGER_ENTRIES, checked_entries

Ask = Callable[[str, Sequence[Any]], list[Any]]
"""Runs a statement, written with ``?``, and returns its rows."""

TABLES = """
CREATE TABLE IF NOT EXISTS ledger (
    sequence {integer} PRIMARY KEY,
    at TEXT NOT NULL,
    event TEXT NOT NULL,
    subject TEXT NOT NULL,
    actor TEXT NOT NULL,
    reason TEXT NOT NULL,
    details TEXT NOT NULL,
    previous_hash TEXT NOT NULL,
    hash TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS ledger_by_subject ON ledger (subject, sequence);
CREATE INDEX IF NOT EXISTS ledger_by_event ON ledger (event, sequence)
"""
_INSERT = "INSERT INTO ledger VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_HEAD = "SELECT sequence, hash FROM ledger ORDER BY sequence DESC LIMIT 1"
_AT_ONCE = 500
_EVENT = re.compile(r"[a-z]+(_[a-z]+)*(\.[a-z]+(_[a-z]+)*)?")
_OLD_NAMES = {"decisions.retired": "decisions retired"}


class LedgerBroken(Refusal):
    """Raised when the chain does not verify; names the first entry that fails."""


class LedgerMoved(Refusal):
    """Raised when another entry came in between; nothing was written."""


class LedgerLocationError(InputError):
    """Raised for a ledger URI that names no kind of database."""


@dataclass(frozen=True, slots=True)
class LedgerHead:
    """Where the chain stands: its last entry."""

    sequence: int
    hash: str


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
    """The chain in one SQLite file; safe for several processes.

    Args:
        path: The file, made where there is none.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(
        self,
        event: str,
        subject: str,
        *,
        actor: str,
        reason: str,
        details: dict[str, Any],
        follows: LedgerHead | None = None,
    ) -> LedgerEntry:
        """Write one entry durably and return it with its place in the chain.

        Args:
            event: What happened: ``promoted``, or an area and what happened there:
                ``decisions.retired``; small letters and underscores.
            subject: To what.
            actor: Who did it.
            reason: Why.
            details: Old and new, and digests of what shows it; JSON values.
            follows: Only behind this entry.

        Raises:
            ValueError: If the event is named otherwise.
            LedgerMoved: If another entry stands there by now.
            StateUnavailable: If the database cannot be written.
        """
        if _EVENT.fullmatch(event) is None:
            raise ValueError(
                f"An event is named in small letters: area.what_happened. Got {event!r}."
            )
        # The lock is taken before the last hash is read: two writers never fork the chain.
        with self._writing() as ask:
            head = _head(ask)
            if follows is not None and head != follows:
                raise LedgerMoved(
                    f"The ledger is at entry {head.sequence} by now, not at {follows.sequence}. "
                    "Look at it and try again."
                )
            draft = LedgerEntry(
                sequence=head.sequence + 1,
                at=datetime.now(UTC).isoformat(timespec="microseconds"),
                event=event,
                subject=subject,
                actor=actor,
                reason=reason,
                # Through JSON and back: the hash is taken over what a reader will get.
                details=json.loads(canonical_json(details)),
                previous_hash=head.hash,
                hash="",
            )
            entry = replace(draft, hash=draft.expected_hash())
            row = {**asdict(entry), "details": canonical_json(entry.details)}
            ask(_INSERT, list(row.values()))
        return entry

    def head(self) -> LedgerHead:
        """Return where the chain stands; 0 and zeros before its first entry."""
        with self._reading() as ask:
            return _head(ask)

    def entries(self, subject: str | None = None, *, event: str | None = None) -> list[LedgerEntry]:
        """Return all entries in order, or those about one subject, or of one event."""
        return list(self.stream(subject=subject, event=event))

    def stream(
        self, *, subject: str | None = None, event: str | None = None, newest_first: bool = False
    ) -> Iterator[LedgerEntry]:
        """Yield entries in order, a few hundred at a time.

        Args:
            subject: Only those about it.
            event: Only those of it; what older releases called otherwise is found as well.
            newest_first: In the order from the end.
        """
        conditions, values = [], []
        if subject is not None:
            conditions.append("subject = ?")
            values.append(subject)
        if event is not None:
            names = [event, *([_OLD_NAMES[event]] if event in _OLD_NAMES else [])]
            conditions.append(f"event IN ({','.join('?' * len(names))})")
            values += names
        sign, order = ("<", "DESC") if newest_first else (">", "ASC")
        last: int | None = None
        while True:
            page = [*conditions, *([] if last is None else [f"sequence {sign} ?"])]
            where = f" WHERE {' AND '.join(page)}" if page else ""
            statement = f"{LEDGER_ENTRIES}{where} ORDER BY sequence {order} LIMIT {_AT_ONCE}"
            with self._reading() as ask:
                rows = ask(statement, [*values, *([] if last is None else [last])])
            for row in rows:
                yield _entry(row)
            if len(rows) < _AT_ONCE:
                return
            last = rows[-1][0]

    def verify(self) -> int:
        """Return how many entries form an unbroken chain.

        Raises:
            LedgerBroken: At the first entry whose place, link or content is not as written.
        """
        n_entries = 0
        for entry in checked_entries(self.rows()):
            if entry.problem is not None:
                raise LedgerBroken(
                    f"The ledger is broken at entry {entry.sequence} ({entry.event} "
                    f"{entry.subject}): {entry.problem}. Compare it with a backup."
                )
            n_entries += 1
        return n_entries

    def rows(self) -> Iterator[Sequence[Any]]:
        """Yield entries as they are stored, for whoever checks them."""
        last = 0
        while True:
            statement = f"{LEDGER_ENTRIES} WHERE sequence > ? ORDER BY sequence LIMIT {_AT_ONCE}"
            with self._reading() as ask:
                rows = ask(statement, [last])
            yield from rows
            if len(rows) < _AT_ONCE:
                return
            last = rows[-1][0]

    @contextmanager
    def _writing(self) -> Iterator[Ask]:
        """Yield what runs statements, alone until the block ends; durable when it ends well."""
        schema = TABLES.format(integer="INTEGER")
        with closing(connect(self._path, schema)) as connection, transaction(connection):
            yield lambda statement, values: connection.execute(statement, values).fetchall()

    @contextmanager
    def _reading(self) -> Iterator[Ask]:
        """Yield what asks."""
        with closing(connect(self._path, TABLES.format(integer="INTEGER"))) as connection:
            yield lambda statement, values: connection.execute(statement, values).fetchall()


def open_ledger(settings: Settings) -> Ledger:
    """Return the ledger that the settings name.

    Raises:
        LedgerLocationError: If the URI names no kind of database, or its driver is missing.
    """
    uri = settings.ledger_uri
    if is_server(uri):
        # Imported here: needs the extra ``postgres``.
        from infra.postgres_ledger import PostgresLedger

        return PostgresLedger(uri)
    if uri is not None and "://" in uri:
        raise LedgerLocationError(
            f"The ledger must be a postgresql:// URI or a file. Got {uri.partition('://')[0]}://…"
        )
    return Ledger(settings.database if uri is None else Path(uri))


def _head(ask: Ask) -> LedgerHead:
    rows = ask(_HEAD, ())
    return LedgerHead(*rows[0]) if rows else LedgerHead(0, GENESIS_HASH)


def _entry(row: Sequence[Any]) -> LedgerEntry:
    sequence, at, event, subject, actor, reason, details, previous_hash, own_hash = row
    return LedgerEntry(
        sequence, at, event, subject, actor, reason, json.loads(details), previous_hash, own_hash
    )

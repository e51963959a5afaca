"""The ledger's chain: each entry's hash is over its content and the hash of the entry before."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from infra.verifier.canonical import canonical_bytes, sha256_hex

GENESIS_HASH = "0" * 64
LEDGER_ENTRIES = (
    "SELECT sequence, at, event, subject, actor, reason, details, previous_hash, hash FROM ledger"
)


@dataclass(frozen=True)
class ToldEntry:
    """An entry as it lies in the database.

    Attributes:
        problem: Why it does not verify; None where it does.
    """

    sequence: int
    event: str
    subject: str
    actor: str
    details: dict[str, Any]
    previous_hash: str
    hash: str
    problem: str | None


def checked_entries(rows: Iterable[Sequence[Any]]) -> Iterator[ToldEntry]:
    """Yield the ledger's entries, each with what is wrong with its place, link or content.

    Args:
        rows: Of :data:`LEDGER_ENTRIES`, by sequence.
    """
    previous = GENESIS_HASH
    for position, row in enumerate(rows, start=1):
        entry = _checked(row, position, previous)
        yield entry
        previous = entry.hash


def _checked(row: Sequence[Any], position: int, previous: str) -> ToldEntry:
    sequence, _, event, subject, actor, _, details, previous_hash, own_hash = row
    try:
        content = json.loads(details)
        is_as_written = sha256_hex(_hashed(row, content)) == own_hash
        is_as_written = is_as_written and canonical_bytes(content).decode() == details
    except (ValueError, TypeError):
        # Another type, no JSON, or what JSON cannot hold.
        content, is_as_written = {}, False
    problem = None
    if sequence != position or previous_hash != previous:
        problem = f"it does not follow entry {position - 1}: one is missing, added or moved"
    elif not is_as_written:
        problem = "it was changed after it was written"
    return ToldEntry(
        sequence if isinstance(sequence, int) else position,
        str(event),
        str(subject),
        str(actor),
        content if isinstance(content, dict) else {},
        str(previous_hash),
        str(own_hash),
        problem,
    )


def _hashed(row: Sequence[Any], content: Any) -> bytes:
    """Return the bytes that an entry's hash is over."""
    sequence, at, event, subject, actor, reason, _, previous_hash, _ = row
    told = {
        "sequence": sequence, "at": at, "event": event, "subject": subject, "actor": actor,
        "reason": reason, "details": content, "previous_hash": previous_hash,
    }  # fmt: skip
    return canonical_bytes(told)

"""Heads of the decision log's chains, signed and written into the ledger while they move.

A chain alone shows a change in its middle; that its end is missing, or that all of it was written
anew, only shows against what was said of it elsewhere.
"""

import json
import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from infra.errors import WhitecrowError
from infra.ledger import Ledger, LedgerEntry, LedgerHead, LedgerMoved
from infra.signing import KeyUnusable, SigningKey, Statement
from infra.storage import canonical_json
from serving.decisions.chain import ChainHead
from serving.decisions.store import DecisionStore

logger = logging.getLogger(__name__)

ANCHORED = "decisions.anchored"
"""Of the ledger."""

SUBJECT = "decision log"
_COMPLETE_EVERY = 1_000
_ATTEMPTS = 3


class Anchoring:
    """Writes the heads of all writers into the ledger; of several processes' one does it.

    Args:
        ledger: Where to.
        store: Returns the decision log's database.
        read_key: Returns the key that signs; None where this process has none.
        actor: Whose service it is.
        seconds: Not sooner after the last anchor, whoever made it.
    """

    def __init__(
        self,
        ledger: Ledger,
        store: Callable[[], DecisionStore],
        read_key: Callable[[], SigningKey | None],
        *,
        actor: str,
        seconds: float = 0.0,
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._read_key = read_key
        self._actor = actor
        self._seconds = seconds
        self._anchored: dict[str, ChainHead] = {}
        self._last: LedgerEntry | None = None
        self._has_warned = False

    def look(self) -> None:
        """Anchor what has moved, unless somebody did a moment ago (:meth:`anchor`)."""
        self.anchor()

    def anchor(self, *, at_once: bool = False) -> LedgerEntry | None:
        """Anchor what has moved; return the entry, None where nothing had or another was first.

        Args:
            at_once: However young the last anchor is.

        Raises:
            LogUnreachable: If the decision log does not answer.
            StateUnavailable: If the ledger does not.
        """
        heads = self._store().heads()
        for _ in range(_ATTEMPTS):
            if not self._moved(heads):
                return None
            head = self._ledger.head()
            self._learn()
            moved = self._moved(heads)
            if not moved or (not at_once and self._is_young()):
                return None
            try:
                return self._append(heads, moved, head)
            except LedgerMoved:
                continue
        return None

    def _moved(self, heads: Sequence[ChainHead]) -> list[ChainHead]:
        return [head for head in heads if self._anchored.get(head.writer_id) != head]

    def _learn(self) -> None:
        """Read the anchors since the last one known; at first, since the last complete one."""
        known, found = self._last.sequence if self._last else 0, []
        for entry in self._ledger.stream(event=ANCHORED, newest_first=True):
            if entry.sequence <= known:
                break
            found.append(entry)
            if entry.details["statement"]["since_complete"] == 0:
                break
        for entry in reversed(found):
            self._last = entry
            for writer_id, (number, n_records, digest) in entry.details["statement"][
                "writers"
            ].items():
                head = ChainHead(writer_id, number, n_records, bytes.fromhex(digest))
                self._anchored[writer_id] = head

    def _is_young(self) -> bool:
        if self._last is None:
            return False
        age = datetime.now(UTC) - datetime.fromisoformat(self._last.at)
        # Processes look at moments of their own: half the time makes one of them the next.
        return 0 <= age.total_seconds() < self._seconds / 2

    def _append(
        self, heads: Sequence[ChainHead], moved: Sequence[ChainHead], head: LedgerHead
    ) -> LedgerEntry:
        since = 0
        if self._last is not None:
            since = self._last.details["statement"]["since_complete"] + 1
        if since >= _COMPLETE_EVERY:
            since = 0
        # Whoever starts later need not read further back than to a complete one.
        statement = anchor_statement(heads if since == 0 else moved, head) | {
            "since_complete": since
        }
        key = self._key()
        entry = self._ledger.append(
            ANCHORED,
            SUBJECT,
            actor=self._actor,
            reason="new decisions",
            details={"statement": statement, "signature": signature_of(statement, key)},
            follows=head,
        )
        self._last = entry
        self._anchored |= {each.writer_id: each for each in heads}
        return entry

    def _key(self) -> SigningKey | None:
        key, why = None, "this state folder has no private key (keys/signing.pem)"
        try:
            key = self._read_key()
        except KeyUnusable as error:
            why = str(error)
        if key is None and not self._has_warned:
            self._has_warned = True
            logger.warning("the decision log is anchored without signatures", extra={"why": why})
        return key


def anchor_statement(heads: Sequence[ChainHead], ledger: LedgerHead) -> dict[str, Any]:
    """Return what an anchor says: where the ledger stands, and where writers' chains do."""
    return {
        "ledger": {"sequence": ledger.sequence, "hash": ledger.hash},
        "writers": {
            head.writer_id: [head.number, head.n_records, head.digest.hex()] for head in heads
        },
    }


def signature_of(statement: dict[str, Any], key: SigningKey | None) -> dict[str, str] | None:
    """Return an anchor's signature as JSON values; None without a key."""
    if key is None:
        return None
    version = str(statement["ledger"]["sequence"])
    content = canonical_json(statement).encode()
    signed: dict[str, str] = json.loads(
        key.sign(Statement.of("anchor", "ledger", version, content))
    )
    return signed


def anchor_the_rest(anchoring: Anchoring) -> None:
    """Anchor what was decided last, before a process ends; where it fails, the next start does."""
    try:
        anchoring.anchor(at_once=True)
    except WhitecrowError as error:
        logger.warning("the last decisions are not anchored", extra={"why": str(error)})

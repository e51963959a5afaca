"""The ledger hears which hard rules a service goes by: they decide, and are a file that changes."""

import logging

from infra.ledger import Ledger, LedgerEntry, LedgerMoved
from serving.rule_book import RuleBook

logger = logging.getLogger(__name__)

RULES_TAKEN = "rules.taken"
"""Of the ledger."""

_ATTEMPTS = 3


class ToldRules:
    """Tells of each change once, whichever of several processes sees it first.

    Args:
        ledger: Where to.
        book: The rules in force.
        actor: Whose service it is; who wrote a file is not known here.
    """

    def __init__(self, ledger: Ledger, book: RuleBook, *, actor: str) -> None:
        self._ledger = ledger
        self._book = book
        self._actor = actor
        self._told: dict[str, str | None] = {}

    def look(self) -> None:
        """Tell of the rules that are in force and that the ledger does not know of.

        Raises:
            StateUnavailable: If the ledger cannot be written; the rules are in force all the same.
        """
        for model, sha256 in self._book.digests().items():
            if self._told.get(model) != sha256:
                self._tell(model, sha256)
                self._told[model] = sha256

    def _tell(self, model: str, sha256: str | None) -> None:
        for _ in range(_ATTEMPTS):
            head, last = self._ledger.head(), self._last(model)
            before = last.details["sha256"] if last else None
            if before == sha256:
                return
            try:
                self._ledger.append(
                    RULES_TAKEN,
                    model,
                    actor=self._actor,
                    reason="the file of hard rules changed",
                    details={"before": before, "sha256": sha256},
                    follows=head,
                )
            except LedgerMoved:
                continue
            return
        logger.warning("the ledger was not told of hard rules yet", extra={"model": model})

    def _last(self, model: str) -> LedgerEntry | None:
        told = self._ledger.stream(subject=model, event=RULES_TAKEN, newest_first=True)
        return next(told, None)

"""What the ledger is told of a retraining: begun, ended well, or stopped."""

import logging
from typing import Any

from features.ingestion.database import without_password
from flows.retraining.book import RetrainEntry
from flows.retraining.outcome import RetrainOutcome
from flows.retraining.request import RetrainRequest
from infra.ledger import open_ledger
from infra.settings import Settings

logger = logging.getLogger(__name__)

STARTED, FINISHED, FAILED = "retrain.started", "retrain.finished", "retrain.failed"


class RetrainLedger:
    """The ledger's side of one retraining.

    Args:
        settings: Where the state is.
        asked: What was asked for.
        entry: The retraining.
    """

    def __init__(self, settings: Settings, asked: RetrainRequest, entry: RetrainEntry) -> None:
        self._ledger, self._asked = open_ledger(settings), asked
        self._told = {"key": entry.key, "run": entry.run}

    def started(self, finished_before: list[str]) -> None:
        """Tell that it begins, or goes on behind some steps."""
        asked = self._asked
        moments = {"since": asked.since, "until": asked.until, "as_of": asked.knows_until}
        window = {name: moment and moment.isoformat() for name, moment in moments.items()}
        data = [without_password(source) for source in asked.data]
        drift = {"accepts_drift": True} if asked.accepts_drift else {}
        self._append(STARTED, {"data": data, **window, **drift, "finished_before": finished_before})

    def finished(self, outcome: RetrainOutcome) -> None:
        """Tell what it gave, once: a process may have died just behind that."""
        if any(
            entry.event == FINISHED and entry.details.get("run") == outcome.run
            for entry in self._ledger.entries(outcome.name)
        ):
            return
        told = {"version", "policy_version", "champion", "verdict"}
        self._append(FINISHED, outcome.model_dump(mode="json", include=told))

    def failed(self, step: str | None, why: str) -> None:
        """Tell where it stopped and why; a ledger that cannot be written hides no failure."""
        try:
            self._append(FAILED, {"step": step, "why": why})
        except Exception as error:  # noqa: BLE001 - what stopped the retraining is the one to tell
            logger.warning("the ledger was not told of a failure", extra={"why": str(error)})

    def _append(self, event: str, details: dict[str, Any]) -> None:
        asked = self._asked
        self._ledger.append(
            event,
            asked.name,
            actor=asked.actor,
            reason=asked.reason,
            details={**self._told, **details},
        )

"""The reasons of declined applications, as an adverse-action notice wants them: in words, in order.

A column that the contract denies is never named: not by what decided, and not here where it was
denied since.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from balancing.calibration.thresholds import DECISION_NAMES, DECLINE
from features.online.events import moment_of
from flows.answered import deciding_model
from infra.settings import Settings
from infra.storage import write_atomically
from serving.decisions.opening import open_store
from serving.decisions.record import StoredRecord, decoded_answer
from serving.decisions.store import DecisionStore
from serving.model_store import ModelStore
from serving.reasons import MOST_REASONS, denied_features
from serving.rule_file import FLAG as HARD_RULE

_DECLINED = DECISION_NAMES[DECLINE]
_MOMENT = pl.Datetime("us", "UTC")
_COLUMNS: dict[str, Any] = {
    "id": pl.String, "decision_id": pl.String, "received_at": _MOMENT, "model": pl.String,
    "model_version": pl.String, "policy_version": pl.String, "risk_score": pl.Float64,
    **{f"reason_{at + 1}": pl.String for at in range(MOST_REASONS)},
    "hard_rules": pl.String,
}  # fmt: skip


def write_reasons(
    settings: Settings,
    reference: str,
    out: Path,
    *,
    begin: datetime | None = None,
    end: datetime | None = None,
) -> dict[str, int]:
    """Write one row for each declined application and return how many there are, by their kind.

    Args:
        settings: Name the log.
        reference: The model: its name, or with an alias or a version, whose contract's denied
            columns count, too.
        out: CSV file.
        begin: Received from then on.
        end: Received before.

    Raises:
        UnknownModel: If there is no such model.
        LogUnreachable: If the log does not answer.
    """
    models = ModelStore.open(settings)
    resolved = models.resolve(reference)
    contract = models.bundle(resolved.name, resolved.model_version).contract
    store = open_store(settings)
    try:
        rows = list(_rows(store, resolved.name, denied_features(contract), begin, end))
    finally:
        store.close()
    table = pl.DataFrame(rows, schema=_COLUMNS)
    out.parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(out) as staging:
        table.write_csv(staging, datetime_format="%+")
    without = table.filter(pl.col("reason_1").is_null())
    by_rule = without.filter(pl.col("hard_rules") != "").height
    return {
        "n_declined": table.height,
        "n_with_reasons": table.height - without.height,
        "n_by_hard_rule_alone": by_rule,
        "n_without_reasons": without.height - by_rule,
    }


def _rows(
    store: DecisionStore,
    name: str,
    denied: set[str],
    begin: datetime | None,
    end: datetime | None,
) -> Iterator[dict[str, Any]]:
    low = float("-inf") if begin is None else begin.timestamp() * 1e6
    high = float("inf") if end is None else end.timestamp() * 1e6
    # A commit is never before what it commits; the day of the clock may be one off.
    first = None if begin is None else (begin - timedelta(days=1)).date().isoformat()
    for group in store.groups(first_segment=first):
        for stored in group.decoded():
            if low <= stored.received_at < high and deciding_model(stored).name == name:
                yield from _row(stored, denied)


def _row(stored: StoredRecord, denied: set[str]) -> Iterator[dict[str, Any]]:
    answer = decoded_answer(stored.answer)
    if answer.decision != _DECLINED:
        return
    texts = [reason.text for reason in answer.reasons if reason.column not in denied]
    rules = [flag.removeprefix(HARD_RULE) for flag in answer.flags if flag.startswith(HARD_RULE)]
    yield {
        "id": stored.transaction_id,
        "decision_id": stored.decision_id,
        "received_at": moment_of(stored.received_at),
        "model": answer.model.name,
        "model_version": answer.model.version,
        "policy_version": answer.model.policy_version,
        "risk_score": answer.risk_score,
        **{
            f"reason_{at + 1}": texts[at] if at < len(texts) else None for at in range(MOST_REASONS)
        },
        "hard_rules": ", ".join(rules),
    }

"""What a process left undone that died behind the swap of the live record.

The ledger's last word on a change, and MLflow's copy of it: both may be missing, and both may be
there already. Done again, nothing is there twice.
"""

from datetime import datetime

from flows.promotion import DONE, INTENT, Change, Mirror, ended_waiting, mirror_or_warn
from infra.ledger import Ledger, LedgerEntry, open_ledger
from infra.settings import Settings
from serving.live import CHALLENGER, LiveRecord
from serving.model_references import ResolvedModel
from serving.model_store import ModelStore


def finish_interrupted_change(settings: Settings, name: str, mirror: Mirror) -> bool:
    """Tell ledger and registry of a change that is live; return whether the ledger had missed it.

    Whoever made it stands as its actor: the intent says so.

    Args:
        settings: Where the state is.
        name: Of the model.
        mirror: Copies the change to the registry, which may have it already.
    """
    store, ledger = ModelStore.open(settings), open_ledger(settings)
    live, entries = store.live.get(name), ledger.entries(name)
    intent = next((e for e in entries if live and e.sequence == live.ledger_sequence), None)
    if live is None or intent is None or not intent.event.endswith(INTENT):
        return False
    done = next((e for e in entries if e.details.get("intent") == intent.sequence), None)
    told = done or _told(ledger, intent)
    before = intent.details["before"] and LiveRecord(**intent.details["before"])
    if done is None and before is not None:
        ended_waiting(store, ResolvedModel(name, live.model_version, live.policy_version))
    is_gone = before is not None and store.live.get(name, alias=CHALLENGER) is None
    at = datetime.fromisoformat(told.at)
    mirror_or_warn(mirror, Change(name, before, live, is_gone, at))
    return done is None


def _told(ledger: Ledger, intent: LedgerEntry) -> LedgerEntry:
    return ledger.append(
        intent.event.removesuffix(INTENT) + DONE,
        intent.subject,
        actor=intent.actor,
        reason=intent.reason,
        details={"intent": intent.sequence},
    )

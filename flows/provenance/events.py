"""Which entries of the ledger are about a version, and what each of them says in a line.

Entries are known by what they hold, not by their names: names have changed, and old ledgers are
read for years.
"""

from collections.abc import Iterable
from typing import Any

from infra.ledger import LedgerEntry


def events_of(
    entries: Iterable[LedgerEntry], name: str, version: str, *, run: str | None = None
) -> list[LedgerEntry]:
    """Return the entries that are about a version of a model, in order.

    Args:
        entries: Of the ledger.
        name: Of the model.
        version: Its version.
        run: Folder of the run that made it, where that is known.
    """
    found, intents = [], set()
    for entry in entries:
        is_named = entry.subject == name and (
            entry.details.get("intent") in intents or version in named_versions(entry.details)
        )
        if is_named or (run is not None and entry.details.get("run") == run):
            found.append(entry)
            intents.add(entry.sequence)
    return found


def named_versions(details: dict[str, Any]) -> set[str]:
    """Return the versions that an entry names: its own, and those before and after a change."""
    told = [details, *(details.get(key) or {} for key in ("before", "after"))]
    named = {each.get("model_version") for each in told}
    named |= {(details.get(key) or {}).get("version") for key in ("champion", "challenger")}
    if "run" in details:
        # A retraining says which version it gave.
        named.add(details.get("version"))
    return {str(each) for each in named if each is not None}


def is_policy(entry: LedgerEntry) -> bool:
    """Return whether an entry tells of a new policy for a released version."""
    return "calibration" in entry.details and "policy_id" in entry.details


def is_registration(entry: LedgerEntry) -> bool:
    """Return whether an entry tells of a new version."""
    return "mlflow_run_id" in entry.details and "model_sha256" in entry.details


def is_verdict(entry: LedgerEntry) -> bool:
    """Return whether an entry is the gate's word on a challenger."""
    return "outcome" in entry.details and "challenger" in entry.details


def is_approval(entry: LedgerEntry) -> bool:
    """Return whether an entry is a person's consent."""
    return set(entry.details) == {"model_version", "policy_version", "model_sha256", "policy_id"}


def is_change(entry: LedgerEntry) -> bool:
    """Return whether an entry begins a change of what is live."""
    return "after" in entry.details and "before" in entry.details


def is_dataset(entry: LedgerEntry) -> bool:
    """Return whether an entry tells of a table that was built from the decision log."""
    return {"file", "sha256", "as_of", "since", "until"} <= set(entry.details)


def is_retirement(entry: LedgerEntry) -> bool:
    """Return whether an entry tells of a day that left the decision log."""
    return {"segment", "groups_sha256", "n_decisions"} <= set(entry.details)


def in_words(entry: LedgerEntry) -> str:
    """Return in one line what an entry says, without who and why."""
    details = entry.details
    name = entry.event.replace("_", " ")
    if is_change(entry):
        before, after = details["before"], details["after"]
        was = f", was {_pair(before)}" if before else ""
        return f"{name}: {_pair(after)}{was}"
    if is_verdict(entry):
        return f"{name}: {details['says']}"
    if "model_version" in details and "policy_version" in details:
        return f"{name}: {_pair(details)}"
    return name


def _pair(versions: dict[str, Any]) -> str:
    return f"version {versions['model_version']} with policy {versions['policy_version']}"

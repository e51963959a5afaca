"""Changing what is live: ledger intent, compare-and-swap, ledger done, then MLflow's mirror.

The live record is the truth, the ledger its history, MLflow's alias a copy for people.
"""

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass

from infra.errors import InputError
from infra.ledger import Ledger
from infra.settings import Settings
from serving.live import CHAMPION, LiveRecord
from serving.model_store import ModelStore, ResolvedModel

logger = logging.getLogger(__name__)

PROMOTED = "promoted"
ROLLED_BACK = "rolled_back"
_INTENT = ".intent"
_DONE = ".done"

Mirror = Callable[[str, str, str], None]
"""Name, alias, version: points the registry's alias at the version."""


class AlreadyLive(InputError):
    """Raised when what is to be promoted answers already."""


class NothingToRollBack(InputError):
    """Raised when nothing was live before what is live now."""


@dataclass(frozen=True, slots=True)
class Change:
    """What was live before, and what is live now."""

    name: str
    before: LiveRecord | None
    after: LiveRecord


def promote(
    settings: Settings, reference: str, *, actor: str, reason: str, mirror: Mirror
) -> Change:
    """Make a version, with its newest policy, the one that answers.

    Args:
        settings: Where the state is.
        reference: ``NAME:version`` or ``NAME@challenger``.
        actor: Who does it; goes to the ledger.
        reason: Why; goes to the ledger.
        mirror: Copies the change to the registry; a failure there does not undo it.

    Raises:
        AlreadyLive: If it answers already.
        InputError: If there is no such version, or it does not verify. Nothing changes then.
        LiveRecordChanged: If somebody else changed what is live in the meantime.
    """
    store = ModelStore.open(settings)
    target = store.resolve(reference)
    live = store.live.get(target.name)
    versions = (target.model_version, target.policy_version)
    if live is not None and (live.model_version, live.policy_version) == versions:
        known = ", ".join(store.versions(target.name))
        raise AlreadyLive(
            f"{target.name} version {versions[0]} with policy {versions[1]} is live already. "
            f"Name another one: {target.name}:VERSION (there are: {known})."
        )
    return make_live(settings, target, PROMOTED, actor=actor, reason=reason, mirror=mirror)


def rollback(settings: Settings, name: str, *, actor: str, reason: str, mirror: Mirror) -> Change:
    """Bring back the model and the policy that were live before the present ones.

    Raises:
        NothingToRollBack: If nothing was live before.
    """
    before = _live_before(settings, name)
    if before is None:
        raise NothingToRollBack(
            f"{name!r} has no earlier live version to go back to. "
            f"Promote one instead: whitecrow promote {name}:VERSION."
        )
    target = ResolvedModel(name, before["model_version"], before["policy_version"])
    return make_live(settings, target, ROLLED_BACK, actor=actor, reason=reason, mirror=mirror)


def _live_before(settings: Settings, name: str) -> dict[str, str] | None:
    """Return what the present version replaced when it was promoted, as the ledger tells it.

    Promotions count, rollbacks do not: a second rollback goes one further back, not forth again.
    """
    live = ModelStore.open(settings).live.get(name)
    if live is None:
        return None
    present = {"model_version": live.model_version, "policy_version": live.policy_version}
    for entry in reversed(Ledger(settings.database).entries(name)):
        if entry.event == PROMOTED + _INTENT and entry.details["after"] == present:
            before: dict[str, str] | None = entry.details["before"]
            return before
    return None


def make_live(
    settings: Settings,
    target: ResolvedModel,
    event: str,
    *,
    actor: str,
    reason: str,
    mirror: Mirror,
) -> Change:
    """Swap the live record for the target, in the order that the module describes."""
    store, ledger = ModelStore.open(settings), Ledger(settings.database)
    bundle = store.bundle(target.name, target.model_version)
    store.policy(target.name, target.policy_version).verify(bundle.model_sha256)
    before = store.live.get(target.name)
    details = {
        "before": asdict(before) if before else None,
        "after": {"model_version": target.model_version, "policy_version": target.policy_version},
        "model_sha256": bundle.model_sha256,
    }
    intent = ledger.append(
        event + _INTENT, target.name, actor=actor, reason=reason, details=details
    )
    after = LiveRecord(target.model_version, target.policy_version, intent.sequence)
    store.live.compare_and_swap(target.name, before, after)
    ledger.append(
        event + _DONE,
        target.name,
        actor=actor,
        reason=reason,
        details={"intent": intent.sequence},
    )
    _mirror(mirror, target)
    return Change(target.name, before, after)


def _mirror(mirror: Mirror, target: ResolvedModel) -> None:
    try:
        mirror(target.name, CHAMPION, target.model_version)
    except Exception:
        logger.warning(
            "registry alias not set; the live record stands",
            extra={"model": target.name, "version": target.model_version},
            exc_info=True,
        )

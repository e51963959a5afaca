"""Changing what is live: ledger intent, compare-and-swap, ledger done, then MLflow's mirror.

The live record is the truth, the ledger its history, MLflow's alias a copy for people. What takes
the place of a champion waits no longer: the challenger record that named it is taken away.
"""

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from flows.gate.consent import consent_to
from flows.provenance.mirror import mirror_versions
from infra.errors import InputError, WhitecrowError
from infra.ledger import open_ledger
from infra.settings import Settings
from serving.live import CHALLENGER, CHAMPION, LiveRecord, LiveRecordChanged
from serving.model_references import ResolvedModel
from serving.model_store import ModelStore

if TYPE_CHECKING:
    from infra.tracking import Tracking

logger = logging.getLogger(__name__)

PROMOTED = "promoted"
ROLLED_BACK = "rolled_back"
INTENT = ".intent"
DONE = ".done"

LIVE_POLICY_TAG = "whitecrow.live_policy"
CHAMPION_FROM_TAG = "whitecrow.champion_from"
CHAMPION_UNTIL_TAG = "whitecrow.champion_until"


class AlreadyLive(InputError):
    """Raised when what is to be promoted answers already."""


class NothingToRollBack(InputError):
    """Raised when nothing was live before what is live now."""


@dataclass(frozen=True, slots=True)
class Change:
    """What was live before, and what is live now.

    Attributes:
        name: Of the model.
        before: The champion that was; None where there was none.
        after: The champion that is.
        is_challenger_gone: Whether it was the challenger, so that there is none any more.
        at: When it was done, as the ledger has it.
    """

    name: str
    before: LiveRecord | None
    after: LiveRecord
    is_challenger_gone: bool
    at: datetime


Mirror = Callable[[Change], None]
"""Points the registry's aliases at what is live now, and names its policy."""


def promote(
    settings: Settings,
    reference: str,
    *,
    policy: str | None = None,
    actor: str,
    reason: str,
    mirror: Mirror,
    despite_verdict: bool = False,
) -> Change:
    """Make a version the one that answers, with its newest policy or the one named.

    Args:
        settings: Where the state is.
        reference: ``NAME:version``, ``NAME@challenger``, or ``NAME`` for another policy of what
            is live.
        policy: Version of the policy; it must have been made for that model.
        actor: Who does it; goes to the ledger.
        reason: Why; goes to the ledger.
        mirror: Copies the change to the registry; a failure there does not undo it.
        despite_verdict: Whether a verdict of the gate against it is overruled.

    Raises:
        AlreadyLive: If it answers already.
        VerdictAgainst: If the gate's last word on it was to keep the champion.
        ApprovalMissing: If fewer other people agreed than the model's rule wants.
        InputError: If there is no such version or policy, or one does not verify, or they do not
            belong together. Nothing changes then.
        LiveRecordChanged: If somebody else changed what is live in the meantime.
    """
    store = ModelStore.open(settings)
    target = store.resolve(reference)
    if policy is not None:
        target = ResolvedModel(target.name, target.model_version, policy)
    live = store.live.get(target.name)
    versions = (target.model_version, target.policy_version)
    if live is not None and (live.model_version, live.policy_version) == versions:
        known = ", ".join(store.versions(target.name))
        raise AlreadyLive(
            f"{target.name} version {versions[0]} with policy {versions[1]} is live already. "
            f"Name another one: {target.name}:VERSION (there are: {known}), or another policy: "
            f"--policy N (there are: {', '.join(store.policy_versions(target.name))})."
        )
    consent = consent_to(settings, target, actor=actor, despite_verdict=despite_verdict)
    return make_live(
        settings,
        target,
        PROMOTED,
        actor=actor,
        reason=reason,
        mirror=mirror,
        consent=consent.to_json(),
    )


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
    entries = open_ledger(settings).entries(name)
    # An intent that lost its compare-and-swap came to nothing; one without its done may be live.
    done = {entry.details["intent"] for entry in entries if entry.event == PROMOTED + DONE}
    done.add(live.ledger_sequence)
    for entry in reversed(entries):
        is_promotion = entry.event == PROMOTED + INTENT and entry.sequence in done
        if is_promotion and entry.details["after"] == present:
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
    consent: dict[str, Any] | None = None,
) -> Change:
    """Swap the live record for the target, in the order that the module describes."""
    store, ledger = ModelStore.open(settings), open_ledger(settings)
    bundle = store.bundle(target.name, target.model_version)
    policy, key_id = store.signed_policy(target.name, target.policy_version)
    policy.verify(bundle.model_sha256)
    policy.check_golden()
    before = store.live.get(target.name)
    details = {
        "before": asdict(before) if before else None,
        "after": {"model_version": target.model_version, "policy_version": target.policy_version},
        "model_sha256": bundle.model_sha256,
        "policy_id": policy.policy_id,
        "policy_key_id": key_id,
        **({} if consent is None else {"consent": consent}),
    }
    intent = ledger.append(event + INTENT, target.name, actor=actor, reason=reason, details=details)
    after = LiveRecord(target.model_version, target.policy_version, intent.sequence)
    store.live.compare_and_swap(target.name, before, after)
    done = ledger.append(
        event + DONE,
        target.name,
        actor=actor,
        reason=reason,
        details={"intent": intent.sequence},
    )
    # The first version of a name never waited; it stays what newer policies are held against.
    is_challenger_gone = before is not None and ended_waiting(store, target)
    at = datetime.fromisoformat(done.at)
    change = Change(target.name, before, after, is_challenger_gone, at)
    mirror_or_warn(mirror, change)
    return change


def ended_waiting(store: ModelStore, target: ResolvedModel) -> bool:
    """Take away the challenger if it is the target; return whether it was.

    A newer policy of the same version still waits.
    """
    challenger = store.live.get(target.name, alias=CHALLENGER)
    if challenger is None or challenger.model_version != target.model_version:
        return False
    if int(challenger.policy_version) > int(target.policy_version):
        return False
    try:
        store.live.compare_and_swap(target.name, challenger, None, alias=CHALLENGER)
    except LiveRecordChanged as changed:
        # Another waits there by now.
        logger.info("challenger left as it is", extra={"why": str(changed)})
        return False
    return True


def registry_mirror(tracking: "Tracking", settings: Settings) -> Mirror:
    """Return the mirror of one MLflow store.

    Args:
        tracking: The store.
        settings: Where the state is that it copies.
    """

    def mirror(change: Change) -> None:
        name, live = change.name, change.after
        tracking.set_alias(name, CHAMPION, live.model_version)
        tracking.tag_version(name, live.model_version, {LIVE_POLICY_TAG: live.policy_version})
        _tag_reign(tracking, change)
        if change.is_challenger_gone:
            tracking.drop_alias(name, CHALLENGER)
        before = None if change.before is None else change.before.model_version
        mirror_versions(settings, tracking, name, live.model_version, before)

    return mirror


def _tag_reign(tracking: "Tracking", change: Change) -> None:
    """Say on both versions since when, and until when, each was champion the last time."""
    before, after = change.before, change.after
    if before is not None and before.model_version == after.model_version:
        return
    at = change.at.isoformat(timespec="seconds")
    tracking.tag_version(change.name, after.model_version, {CHAMPION_FROM_TAG: at})
    tracking.untag_version(change.name, after.model_version, CHAMPION_UNTIL_TAG)
    if before is not None:
        tracking.tag_version(change.name, before.model_version, {CHAMPION_UNTIL_TAG: at})


def mirror_or_warn(mirror: Mirror, change: Change) -> None:
    """Copy a change to the registry; the live record stands where that fails."""
    try:
        mirror(change)
    except Exception as error:
        logger.warning(
            "registry alias not set; the live record stands",
            extra={
                "model": change.name,
                "version": change.after.model_version,
                "why": str(error),
            },
            # Where models are only served, MLflow is not installed.
            exc_info=not isinstance(error, WhitecrowError | ImportError),
        )

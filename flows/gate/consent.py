"""Who must agree to a promotion: other people's approvals, and the gate's last word.

An approval is for exactly one model with one policy, and for one change: once that pair has gone
live, the next promotion of it needs new ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flows.gate.rule import rule_of
from infra.errors import InputError, Refusal
from infra.ledger import LedgerEntry, open_ledger
from infra.settings import Settings
from serving.model_references import ResolvedModel
from serving.model_store import ModelStore

APPROVED = "approved"
GATED = "gated"


class NothingToApprove(InputError):
    """Raised for an approval of what is live, or that the same person has given already."""


class ApprovalMissing(Refusal):
    """Raised when the model's rule wants more people to agree than have; says who did."""


class VerdictAgainst(Refusal):
    """Raised when the gate's last word on a version was to keep the champion."""


@dataclass(frozen=True, slots=True)
class Approval:
    """What one person agreed to.

    Attributes:
        model: Version and policy.
        model_sha256: Of the network.
        policy_id: Of the policy.
        actor: Who.
        ledger_sequence: The entry that tells of it.
    """

    model: ResolvedModel
    model_sha256: str
    policy_id: str
    actor: str
    ledger_sequence: int


@dataclass(frozen=True, slots=True)
class Consent:
    """What allows a promotion, for its entry in the ledger.

    Attributes:
        approved_by: Who agreed, each once, the one who promotes left out.
        verdict: The gate's last word on the version; None where it was never judged.
        verdict_sequence: The entry that tells of it.
    """

    approved_by: tuple[str, ...]
    verdict: str | None
    verdict_sequence: int | None

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "approved_by": list(self.approved_by),
            "verdict": self.verdict,
            "verdict_sequence": self.verdict_sequence,
        }


def approve(
    settings: Settings, reference: str, *, policy: str | None = None, actor: str, reason: str
) -> Approval:
    """Agree to the promotion of a version with its newest policy, or the one named.

    Args:
        settings: Where the state is.
        reference: ``NAME@challenger`` or ``NAME:version``.
        policy: Version of the policy; it must have been made for that model.
        actor: Who agrees; whoever promotes must be somebody else.
        reason: Why; goes to the ledger.

    Raises:
        NothingToApprove: If it is live, or the same person has approved it.
        InputError: If there is no such version or policy, or they do not belong together.
    """
    store = ModelStore.open(settings)
    target = store.resolve(reference)
    if policy is not None:
        target = ResolvedModel(target.name, target.model_version, policy)
    name, words = target.name, _words(target)
    live = store.live.get(name)
    if live is not None and (live.model_version, live.policy_version) == _versions(target):
        raise NothingToApprove(
            f"{words} is live already. Approve what waits: whitecrow approve {name}@challenger."
        )
    identity = _identity(store, target)
    ledger = open_ledger(settings)
    if actor in {entry.actor for entry in _approvals(ledger.entries(name), identity)}:
        raise NothingToApprove(f"{actor} has approved {words} already; once is enough.")
    entry = ledger.append(APPROVED, name, actor=actor, reason=reason, details=identity)
    return Approval(target, identity["model_sha256"], identity["policy_id"], actor, entry.sequence)


def consent_to(
    settings: Settings, target: ResolvedModel, *, actor: str, despite_verdict: bool
) -> Consent:
    """Return what allows somebody to promote a version with a policy.

    Args:
        settings: Where the state is.
        target: What is to go live.
        actor: Who promotes; their own approval does not count.
        despite_verdict: Whether a verdict against it is overruled.

    Raises:
        VerdictAgainst: If the gate's last word was to keep the champion, and nobody overrules it.
        ApprovalMissing: If fewer other people agreed than the model's rule wants.
    """
    name, words = target.name, _words(target)
    identity = _identity(ModelStore.open(settings), target)
    entries = open_ledger(settings).entries(name)
    verdict = _last_verdict(entries, identity)
    command = f"{name}:{target.model_version} --policy {target.policy_version}"
    if verdict is not None and verdict.details["outcome"] == "keep" and not despite_verdict:
        raise VerdictAgainst(
            f"The gate said of {words}: {verdict.details['says']} (ledger entry "
            f"{verdict.sequence}). To promote it all the same: whitecrow promote {command} "
            "--despite-verdict --reason '...'"
        )
    needed = rule_of(settings, name).approvals
    agreed = tuple(
        dict.fromkeys(e.actor for e in _approvals(entries, identity) if e.actor != actor)
    )
    if len(agreed) < needed:
        raise ApprovalMissing(
            f"{words} needs {needed} approval{'s' if needed > 1 else ''} of others than {actor} "
            f"and has {len(agreed)}{' (' + ', '.join(agreed) + ')' if agreed else ''}. Somebody "
            f"else: whitecrow approve {command} --reason '...'"
        )
    return Consent(
        approved_by=agreed,
        verdict=None if verdict is None else verdict.details["outcome"],
        verdict_sequence=None if verdict is None else verdict.sequence,
    )


def _last_verdict(entries: Sequence[LedgerEntry], identity: dict[str, str]) -> LedgerEntry | None:
    for entry in reversed(entries):
        if entry.event == GATED and _is_about(entry.details["challenger"], identity):
            return entry
    return None


def _approvals(entries: Sequence[LedgerEntry], identity: dict[str, str]) -> list[LedgerEntry]:
    """Return the approvals of a pair since it last went live, in order."""
    versions = {key: identity[key] for key in ("model_version", "policy_version")}
    gone_live = [entry.sequence for entry in entries if entry.details.get("after") == versions]
    since = max(gone_live, default=0)
    return [
        entry
        for entry in entries
        if entry.event == APPROVED and entry.sequence > since and entry.details == identity
    ]


def _identity(store: ModelStore, target: ResolvedModel) -> dict[str, str]:
    """Return what exactly would go live.

    Raises:
        InputError: If there is no such version or policy, or they do not belong together.
    """
    bundle = store.bundle(target.name, target.model_version)
    policy = store.policy(target.name, target.policy_version)
    policy.verify(bundle.model_sha256)
    return {
        "model_version": target.model_version,
        "policy_version": target.policy_version,
        "model_sha256": bundle.model_sha256,
        "policy_id": policy.policy_id,
    }


def _is_about(challenger: dict[str, Any], identity: dict[str, str]) -> bool:
    keys = ("model_sha256", "policy_id")
    return all(challenger[key] == identity[key] for key in keys)


def _versions(target: ResolvedModel) -> tuple[str, str]:
    return target.model_version, target.policy_version


def _words(target: ResolvedModel) -> str:
    return f"{target.name}:{target.model_version} with policy {target.policy_version}"

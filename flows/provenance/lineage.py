"""Everything that is known of where a version comes from, gathered from where it is kept.

The bundle's manifest and what was kept with it are verified before they are believed; the ledger,
the decision log and MLflow are asked besides. What is nowhere is named, not guessed.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict

from balancing.calibration.policy import Policy
from flows.provenance.decided import Tally, Versions
from flows.provenance.recorded import RunLineage


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Event(_Told):
    """An entry of the ledger.

    Attributes:
        sequence: Its number.
        at: When.
        event: Its name.
        actor: Who.
        reason: Why.
        says: What it says, in a line.
        hash: Its hash, which the next entry goes on from.
        details: What it says, in full.
    """

    sequence: int
    at: AwareDatetime
    event: str
    actor: str
    reason: str
    says: str
    hash: str
    details: dict[str, Any]


class PolicyLineage(_Told):
    """A policy that decides with a version.

    Attributes:
        version: Its own.
        parent: Version of the policy that it was compared with when it was made; None for the
            one that came with the version.
        ledger_sequence: The entry that tells of it; None where the ledger has none.
        calibrated_on: Its rows in words; None where only their digest is known.
        policy: All of it.
    """

    version: str
    parent: str | None
    ledger_sequence: int | None
    calibrated_on: str | None
    policy: Policy


class Decided(_Told):
    """What a version decided with one policy, as the log has it.

    Attributes:
        policy_version: Of the policy.
        decisions: How many; retired days are in the log no more.
        by_decision: How many of each.
        first: When the first was asked for.
        last: The last.
    """

    policy_version: str
    decisions: int
    by_decision: dict[str, int]
    first: AwareDatetime
    last: AwareDatetime


class Evidence(_Told):
    """What a verdict of the gate rests on.

    Attributes:
        ledger_sequence: The entry that tells of it.
        sha256: Of the evidence, as the ledger has it.
        folder: Of the run that holds it.
        is_verified: Whether the file there is still that; None where it is there no more.
        shadow: What the challenger said of live rows; None where it was in nobody's shadow.
    """

    ledger_sequence: int
    sha256: str
    folder: str
    is_verified: bool | None
    shadow: dict[str, Any] | None


class Lineage(_Told):
    """Where a version comes from, and what became of it.

    Attributes:
        name: Of the model.
        version: Its number.
        state: ``champion``, ``challenger``, ``was champion`` or ``waits``.
        live_policy: Version of the policy that answers or waits with it.
        created_at: When its bundle was made.
        model_sha256: Of the ONNX file.
        bundle_sha256: Of the seal over the whole bundle.
        contract: The resolved contract.
        contract_data_sha256: Of all in it that shapes the data.
        feature_set_hash: Of its features.
        features: Their names.
        data: Name, role, SHA-256, rows and columns of every source.
        recorded: What training wrote down; None for versions of releases that did not.
        strategy: How the imbalance was treated.
        config: The whole configuration.
        how: How the length of training was found.
        class_counts: Training rows per class.
        fitted_until: Newest event time that the network, or its length, was chosen on.
        test_from: Oldest event time of the test rows.
        code_revision: Of the code that made it.
        metrics: On test rows, with intervals.
        policies: That decide with it, the oldest first.
        evidence: Of the gate's verdicts.
        events: Of the ledger, in order.
        decisions: By policy; None where the log was not asked or does not answer.
        retired_decisions: Of all models, in days that left the log.
        mlflow_run_id: Its run.
        mlflow: What MLflow says of the run; None where it was not asked or does not answer.
        not_recorded: What nobody wrote down.
        cautions: What a reader must know.
    """

    name: str
    version: str
    state: str
    live_policy: str | None
    created_at: AwareDatetime
    model_sha256: str
    bundle_sha256: str
    contract: dict[str, Any]
    contract_data_sha256: str
    feature_set_hash: str
    features: tuple[str, ...]
    data: tuple[dict[str, Any], ...]
    recorded: RunLineage | None
    strategy: str
    config: dict[str, Any]
    how: dict[str, Any]
    class_counts: tuple[int, ...]
    fitted_until: AwareDatetime | None
    test_from: AwareDatetime | None
    code_revision: str
    metrics: dict[str, Any]
    policies: tuple[PolicyLineage, ...]
    evidence: tuple[Evidence, ...]
    events: tuple[Event, ...]
    decisions: tuple[Decided, ...] | None
    retired_decisions: int
    mlflow_run_id: str | None
    mlflow: dict[str, Any] | None
    not_recorded: tuple[str, ...]
    cautions: tuple[str, ...]

    @property
    def length(self) -> str:
        """How long the model was trained, and who decided that."""
        by = self.how.get("by", "nobody knows whom")
        for name, words in (("epochs", "{:.2f} epochs"), ("rounds", "{} rounds")):
            if self.how.get(name):
                return f"{words.format(self.how[name])}, chosen by {by}"
        return f"length chosen by {by}"


def decided_by(counts: Mapping[Versions, Tally], name: str, version: str) -> tuple[Decided, ...]:
    """Return what a version decided, by policy."""
    found = [
        Decided.model_validate({"policy_version": key[2], **tally.to_json()})
        for key, tally in counts.items()
        if key[:2] == (name, version)
    ]
    return tuple(sorted(found, key=lambda each: int(each.policy_version)))

"""What stands in a passport. ``schema.json`` beside this file is made from it."""

from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict

from balancing.part_figures import PartsReport
from flows.provenance.lineage import Lineage


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Candidate(_Told):
    """A strategy that was tried.

    Attributes:
        name: Of the strategy.
        trial: Number of the setting.
        validation_average_precision: None where it did not finish.
        seconds: How long its fit took.
        why_not: Why it did not finish.
        is_chosen: Whether it was released.
    """

    name: str
    trial: int
    validation_average_precision: float | None
    seconds: float | None
    why_not: str | None
    is_chosen: bool


class BakeOffMember(_Told):
    """A strategy in a bake-off on the same data.

    Attributes:
        name: Of the strategy.
        seeds: Repetitions that finished.
        validation: Mean validation average precision; None where it did not finish.
        test: Mean test average precision.
        gain_over_plain: Over plain training, with low and high; None where there is none.
        why_not: Why it did not finish.
    """

    name: str
    seeds: int
    validation: float | None
    test: float | None
    gain_over_plain: tuple[float, float, float] | None
    why_not: str | None


class BakeOffTable(_Told):
    """A bake-off on the same data.

    Attributes:
        folder: Where it lies in the state folder.
        members: Best validation first.
    """

    folder: str
    members: tuple[BakeOffMember, ...]


class Method(_Told):
    """How the version was made, and why so.

    Attributes:
        why: In a sentence.
        network: Kind of the network; None where there is none.
        candidates: Of the search for a strategy, best first; empty without one.
        bakeoffs: On the same data.
        parity: The gates between training and serving; None where the run's folder is gone.
    """

    why: str
    network: str | None
    candidates: tuple[Candidate, ...]
    bakeoffs: tuple[BakeOffTable, ...]
    parity: dict[str, Any] | None


class Performance(_Told):
    """What was measured on the test rows, once.

    Attributes:
        rows: How many.
        positives: How many of them are positive.
        references: What a constant score gets.
        decided: What the first policy would have decided.
        parts: By group, segment and period.
        curves: Of the pictures.
    """

    rows: int
    positives: int
    references: dict[str, float]
    decided: tuple[dict[str, Any], ...]
    parts: PartsReport | None
    curves: dict[str, Any]


class FairnessFinding(_Told):
    """A ratio to the best group that lies below four fifths.

    Attributes:
        column: That tells the groups apart.
        group: The group.
        share: Of what: approved, not declined, or approved among those who paid.
        ratio: To the group that fares best.
        low: Lower end of its 95 % interval.
        high: Upper end.
        is_certain: Whether the whole interval lies below four fifths.
    """

    column: str
    group: str | None
    share: str
    ratio: float
    low: float | None
    high: float | None
    is_certain: bool


class Look(_Told):
    """A monitoring run over the version.

    Attributes:
        folder: Of the run.
        since: Begin of its window.
        until: Its end.
        rows: In the window.
        action: What it called for.
        findings: What went too far, in words.
        precision: Of the alerts, on matured labels, with low and high.
        recall: Likewise.
        average_precision: Likewise.
    """

    folder: str
    since: AwareDatetime | None
    until: AwareDatetime | None
    rows: int
    action: str
    findings: tuple[str, ...]
    precision: tuple[float | None, float | None, float | None] | None
    recall: tuple[float | None, float | None, float | None] | None
    average_precision: tuple[float | None, float | None, float | None] | None


class PolicyImpact(_Told):
    """What a policy would have done beside the one before it, on the rows of its preview.

    Attributes:
        policy_version: Of the policy.
        compared_with: Of the one before; None without one.
        folder: Of the run.
        old: Figures of the one before.
        new: Figures of the policy.
    """

    policy_version: str
    compared_with: str | None
    folder: str
    old: dict[str, Any] | None
    new: dict[str, Any]


class Change(_Told):
    """Something that differs from the version before.

    Attributes:
        section: Data, contract, features, configuration, code, metrics or policy.
        name: What.
        before: As it was; None where it was not there.
        after: As it is; None where it is there no more.
    """

    section: str
    name: str
    before: str | None
    after: str | None


class Changes(_Told):
    """What differs from the version before.

    Attributes:
        previous: ``NAME:version``; None for the first.
        found: All that differs.
    """

    previous: str | None
    found: tuple[Change, ...]


class MonitoringPlan(_Told):
    """What is looked at, when, and what happens then.

    Attributes:
        schedules: As they stand today.
        limits: From which value on somebody is told, or a retraining starts; by metric.
        limits_from: The file that they come from; None for the defaults.
        gate_rule: What a challenger has to pass.
    """

    schedules: tuple[dict[str, Any], ...]
    limits: dict[str, dict[str, float | None]]
    limits_from: str | None
    gate_rule: dict[str, Any]


class Passport(_Told):
    """Everything that a validator asks about a version.

    Attributes:
        made_at: When this was written.
        made_by_code: Revision of the code that wrote it.
        lineage: Where the version comes from, and what became of it.
        method: How it was made, and why so.
        performance: On the test rows; None where nothing was kept of it.
        fairness: Ratios below four fifths; a rule of thumb, no legal test.
        stability: Monitoring runs, the oldest first.
        impacts: Of later policies.
        changes: Since the version before.
        monitoring: What is looked at from now on.
    """

    format: Literal[1] = 1
    made_at: AwareDatetime
    made_by_code: str
    lineage: Lineage
    method: Method
    performance: Performance | None
    fairness: tuple[FairnessFinding, ...]
    stability: tuple[Look, ...]
    impacts: tuple[PolicyImpact, ...]
    changes: Changes
    monitoring: MonitoringPlan

    @property
    def about(self) -> dict[str, Any]:
        """What the contract says of purpose, limits and owner."""
        found: dict[str, Any] = self.lineage.contract.get("about") or {}
        return found

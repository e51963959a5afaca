"""The verdict on a challenger: promote it, keep the champion, or leave it to a person."""

from dataclasses import asdict, dataclass, is_dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias

from flows.gate.checks import Check, known
from flows.gate.contenders import Contender
from flows.gate.evidence import Evidence
from flows.gate.rows import JudgedRows
from flows.gate.rule import GateRule
from flows.impact import Impact

Outcome: TypeAlias = Literal["promote", "keep", "person"]
PROMOTE: Outcome = "promote"
KEEP: Outcome = "keep"
PERSON: Outcome = "person"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict with all that it rests on, before anybody was told.

    Attributes:
        champion: The one that answers.
        challenger: The one that was judged.
        judged: The rows.
        rule: What was wanted.
        evidence: What was found.
        checks: The one held against the other.
        outcome: What follows.
        says: The same in one sentence.
        at: When.
        actor: Who asked.
        reason: Why.
        seed: Decides the resamples.
    """

    champion: Contender
    challenger: Contender
    judged: JudgedRows
    rule: GateRule
    evidence: Evidence
    checks: tuple[Check, ...]
    outcome: Outcome
    says: str
    at: datetime
    actor: str
    reason: str
    seed: int

    @property
    def name(self) -> str:
        """The model's name."""
        return self.challenger.scorer.name

    @property
    def next_command(self) -> str:
        """How a person makes the challenger champion."""
        scorer = self.challenger.scorer
        overruled = " --despite-verdict" if self.outcome == KEEP else ""
        return (
            f"whitecrow promote {self.name}:{scorer.model_version} --policy "
            f"{scorer.policy_version}{overruled} --reason '...'"
        )

    def to_json(self) -> dict[str, Any]:
        """Return everything but the rows as JSON values."""
        judged = self.judged
        return {
            "name": self.name,
            "outcome": self.outcome,
            "says": self.says,
            "at": self.at.isoformat(timespec="seconds"),
            "actor": self.actor,
            "reason": self.reason,
            "champion": contender_json(self.champion),
            "challenger": contender_json(self.challenger),
            "rule": self.rule.model_dump(mode="json"),
            "checks": [check.to_json() for check in self.checks],
            "rows": {
                "after": _moment(judged.cut_off),
                "as_of": _moment(judged.as_of),
                "labelled": self.evidence.rows,
                "positives": self.evidence.positives,
                "left_out": judged.left_out,
                "coverage": judged.coverage,
                "log_coverage": judged.log_coverage,
                "sources": [asdict(source) for source in judged.sources],
            },
            "evidence": _plain(self.evidence),
            "seed": self.seed,
        }


@dataclass(frozen=True, slots=True)
class Verdict:
    """A verdict that the ledger knows.

    Attributes:
        judgement: What was found, and what follows.
        folder: Where page and JSON lie.
        evidence_sha256: Of the JSON, as the ledger has it.
        ledger_sequence: The entry that tells of it.
        mlflow_run_id: The run that has both; None where MLflow could not be told.
    """

    judgement: Judgement
    folder: Path
    evidence_sha256: str
    ledger_sequence: int
    mlflow_run_id: str | None

    @property
    def outcome(self) -> Outcome:
        """``promote``, ``keep`` or ``person``."""
        return self.judgement.outcome

    @property
    def says(self) -> str:
        """The verdict in one sentence."""
        return self.judgement.says

    @property
    def next_command(self) -> str:
        """How a person makes the challenger champion."""
        return self.judgement.next_command

    @property
    def page(self) -> Path:
        """The evidence, for people."""
        return self.folder / "gate.html"

    @property
    def table(self) -> Path:
        """The evidence, for machines."""
        return self.folder / "gate.json"

    def to_json(self) -> dict[str, Any]:
        """Return the verdict and where it stands as one JSON object."""
        return self.judgement.to_json() | {
            "page": str(self.page),
            "table": str(self.table),
            "evidence_sha256": self.evidence_sha256,
            "ledger_sequence": self.ledger_sequence,
            "mlflow_run_id": self.mlflow_run_id,
        }


def outcome_of(checks: tuple[Check, ...], rule: GateRule) -> tuple[Outcome, str]:
    """Return what follows from the checks, and why in one sentence.

    One failed check keeps the champion. An open one leaves it to a person, and so does a rule
    that wants a person or approvals.
    """
    failed = [check for check in checks if check.passed is False]
    if failed:
        return KEEP, f"Keep the champion: {_named(failed)}."
    open_ones = [check for check in checks if check.passed is None]
    if open_ones:
        return PERSON, f"A person has to decide: {_named(open_ones)}."
    passed = f"All {len(checks)} checks passed"
    if rule.approvals:
        people = "one other person" if rule.approvals == 1 else "two other people"
        return PERSON, f"{passed}; the rule wants the approval of {people}."
    if rule.on_pass == PERSON:
        return PERSON, f"{passed}; the rule leaves the promotion to a person."
    return PROMOTE, f"{passed}: promote the challenger."


def contender_json(contender: Contender) -> dict[str, Any]:
    """Return what identifies a version with its policy."""
    scorer = contender.scorer
    return {
        "version": scorer.model_version,
        "policy_version": scorer.policy_version,
        "model_sha256": scorer.bundle.model_sha256,
        "policy_id": scorer.policy.policy_id,
        "seen_until": _moment(contender.seen_until),
    }


def _named(checks: list[Check]) -> str:
    return "; ".join(check.says for check in checks)


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _plain(value: Any) -> Any:
    """Return evidence as JSON values: no rows, and None in place of NaN."""
    if isinstance(value, Impact):
        # The rows one by one stay here: they are the user's data.
        return _plain({"total": asdict(value.total), "segments": list(map(asdict, value.segments)),
                       "flips": list(value.flips), "days": value.days})  # fmt: skip
    if is_dataclass(value) and not isinstance(value, type):
        return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return known(value) if isinstance(value, float) else value

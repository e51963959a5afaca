"""What a challenger must show before it may take its champion's place.

A rule is configuration: a TOML file whose keys are those of :class:`GateRule`. The one that holds
for a model lies in ``HOME/gates/NAME.toml``; without it the defaults hold. A change of it is told
in the ledger, because it says how many people must agree to a promotion.
"""

import difflib
import hashlib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from flows.toml_file import read_toml
from infra.errors import InputError
from infra.ledger import open_ledger
from infra.settings import Settings
from infra.storage import sha256_json, write_atomically
from serving.model_store import ModelStore

GATE_RULE_SET = "gate_rule_set"

_Gain = Annotated[float, Field(ge=-1, le=1)]


class GateRuleError(InputError):
    """Raised for a rule file that cannot be read; names the offending key."""


class GateRule(BaseModel):
    """The limits of every check, and what becomes of a challenger that passes.

    A ``min_..._gain`` is what the lower end of the interval of challenger less champion must
    reach: below 0 it says how much worse is put up with, above 0 how much better it has to be.

    Attributes:
        min_rows: Labelled rows that no version has seen, below which nothing is judged.
        min_positives: Positives among them, likewise.
        confidence: Of every interval, two-sided; the lower end alone then holds with
            ``(1 + confidence) / 2``.
        min_average_precision_gain: Of average precision, absolute.
        min_objective_gain: Of the policy's objective; of costs, the share of the champion's.
        min_caught_gain: Of the share of positives that are reviewed or declined, absolute.
        max_calibration_slope_deviation: How far Cox's slope may lie from 1; a challenger that is
            nearer to 1 than its champion passes all the same.
        max_alert_volume_ratio: Alerts a day over the budget, or over the champion's where these
            are more or there is no budget.
        max_segment_loss: Of the share caught in any segment, where the loss is certain.
        min_segment_positives: Positives below which a segment is not judged.
        max_latency_ratio: Median time of a single row, challenger over champion.
        max_disagreement: Share of live decisions that the challenger in the shadow decides
            otherwise.
        min_shadow_decisions: Live decisions below which the shadow is not judged.
        on_pass: ``promote`` a challenger that passes, or leave that to a ``person``.
        approvals: People other than the one who promotes that must agree.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_rows: int = Field(default=500, ge=1, strict=True)
    min_positives: int = Field(default=50, ge=1, strict=True)
    confidence: float = Field(default=0.9, ge=0.5, lt=1)
    min_average_precision_gain: _Gain = -0.05
    min_objective_gain: _Gain = -0.05
    min_caught_gain: _Gain = -0.05
    max_calibration_slope_deviation: float = Field(default=0.5, gt=0, allow_inf_nan=False)
    max_alert_volume_ratio: float = Field(default=1.5, gt=0, allow_inf_nan=False)
    max_segment_loss: float = Field(default=0.1, ge=0, le=1)
    min_segment_positives: int = Field(default=20, ge=1, strict=True)
    max_latency_ratio: float = Field(default=3.0, gt=0, allow_inf_nan=False)
    max_disagreement: float = Field(default=0.2, ge=0, le=1)
    min_shadow_decisions: int = Field(default=500, ge=1, strict=True)
    on_pass: Literal["promote", "person"] = "person"  # noqa: S105 - no password
    approvals: int = Field(default=0, ge=0, le=2, strict=True)


def read_rule(path: Path) -> GateRule:
    """Return the rule of a file; keys that it leaves out keep their defaults.

    Raises:
        GateRuleError: If the file cannot be read, or has an unknown key or a bad value.
    """
    given = read_toml(path, GateRuleError, what="Gate rule")
    try:
        return GateRule.model_validate(given)
    except ValidationError as error:
        raise GateRuleError(f"{path}: {_first_problem(error)}") from None


def rule_of(settings: Settings, name: str) -> GateRule:
    """Return the rule that holds for a model.

    Raises:
        GateRuleError: If the kept file was damaged.
    """
    path = _kept(settings, name)
    return read_rule(path) if path.is_file() else GateRule()


def keep_rule(settings: Settings, name: str, path: Path, *, actor: str, reason: str) -> GateRule:
    """Let the rule of a file hold for a model from now on, and return it.

    Nothing is written where it holds already. The ledger is told first.

    Args:
        settings: Where the state is.
        name: Of the model.
        path: The file, which is copied as it is.
        actor: Who does it; goes to the ledger.
        reason: Why; goes to the ledger.

    Raises:
        GateRuleError: If it is no rule.
        UnknownModel: If there is no such model.
    """
    rule = read_rule(path)
    ModelStore.open(settings).resolve_version(name)
    kept = _kept(settings, name)
    if kept.is_file() and rule == rule_of(settings, name):
        return rule
    told = rule.model_dump(mode="json")
    before, content = rule_of(settings, name).model_dump(mode="json"), path.read_bytes()
    open_ledger(settings).append(
        GATE_RULE_SET,
        name,
        actor=actor,
        reason=reason,
        details={
            "rule": told,
            "rule_sha256": sha256_json(told),
            "before": before,
            "file_sha256": hashlib.sha256(content).hexdigest(),
        },
    )
    with write_atomically(kept) as staging:
        staging.write_bytes(content)
    return rule


def _kept(settings: Settings, name: str) -> Path:
    return settings.root / "gates" / f"{name}.toml"


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        close = difflib.get_close_matches(key, GateRule.model_fields, n=1)
        return f"unknown key {key!r}" + (f"; did you mean {close[0]!r}?" if close else ".")
    return f"{key}: {first['msg']}, got {first['input']!r}."

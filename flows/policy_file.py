"""What a person wants of a new policy, read from TOML; what it leaves out is the contract's.

The keys are those of the contract's ``[policy]`` that concern decisions, and two more,
``post_processing`` and ``prior``::

    review = {objective = "alert_budget", alerts_per_day = 50}
    decline = {objective = "min_precision", min_precision = 0.9}
    segments = ["ENTRY_MODE"]
    post_processing = {kind = "class_dependent", gamma = 0.25}   # without gamma: chosen on the rows
    prior = {base_rate = 0.002}                                  # or {estimate = true}
    exploration = {rate = 0.01, max_amount = 100.0}              # or false: none
"""

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from balancing.calibration.fitting.post_processing import Kind
from features.contract import Contract
from features.exploration import check_exploration
from features.segments import check_segments
from flows.toml_file import read_toml
from infra.errors import InputError
from infra.exploration import Exploration
from infra.objectives import Objective

_OF_CONTRACT = {"review", "decline", "segments", "exploration"}
_STRENGTH_OF: dict[str, str] = {
    "class_dependent": "gamma",
    "segment_class_dependent": "gamma",
    "logit_adjustment": "tau",
    "tau_normalisation": "tau",
    "temperature": "temperature",
}


class PolicyFileError(InputError):
    """Raised for a policy file that cannot be read; names the offending key."""


class _Block(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PostProcessingChoice(_Block):
    """Which post-processing of logits, and how strong; without a strength it is chosen."""

    kind: Kind
    gamma: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    tau: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    temperature: float | None = Field(default=None, gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _strength_fits(self) -> Self:
        wanted = _STRENGTH_OF[self.kind]
        for name in ("gamma", "tau", "temperature"):
            if name != wanted and getattr(self, name) is not None:
                raise ValueError(f"{self.kind} takes {wanted}, not {name}")
        return self

    @property
    def strength(self) -> float | None:
        """The strength under whatever name the kind gives it."""
        value: float | None = getattr(self, _STRENGTH_OF[self.kind])
        return value


class PriorChoice(_Block):
    """The base rate that scores are to be read at: known, or estimated on unlabelled rows."""

    base_rate: float | None = Field(default=None, gt=0, lt=1)
    estimate: bool = False

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.base_rate is None) != self.estimate:
            raise ValueError("write either base_rate = 0.002 or estimate = true")
        return self


def _none_if_false(value: Any) -> Any:
    # TOML knows no null, and leaving the key out means the contract's.
    return None if value is False else value


class PolicyFile(_Block):
    """What a new policy is to serve.

    Attributes:
        review: Objective of the review threshold.
        decline: Objective of the decline threshold.
        segments: Columns that thresholds, and a segmented post-processing, go by.
        post_processing: What is done to the logits; nothing by default.
        prior: The base rate to read scores at; that of the calibration rows by default.
        exploration: Which declined rows a service lets through; none by default.
    """

    review: Objective
    decline: Objective
    segments: tuple[str, ...] = ()
    post_processing: PostProcessingChoice | None = None
    prior: PriorChoice | None = None
    exploration: Annotated[Exploration | None, BeforeValidator(_none_if_false)] = None

    @property
    def objectives(self) -> dict[str, Any]:
        """The settings that thresholds are fitted to."""
        return self.model_dump(mode="json", include={"review", "decline", "segments"})


def read_policy_file(path: Path | None, contract: Contract) -> PolicyFile:
    """Return what a file asks for, the contract's settings where it says nothing.

    A file may hold its keys under ``[policy]``, as a contract does.

    Raises:
        PolicyFileError: If the file cannot be read, or has an unknown key or a bad value,
            segments by what is neither a categorical nor a derived column, or bounds amounts where
            the contract has none.
    """
    given = read_toml(path, PolicyFileError, what="Policy file") if path else {}
    if set(given) == {"policy"} and isinstance(given["policy"], dict):
        given = given["policy"]
    settled = contract.policy.model_dump(mode="json", include=_OF_CONTRACT)
    try:
        wanted = PolicyFile.model_validate(settled | given)
    except ValidationError as error:
        raise PolicyFileError(f"{path}: {_first_problem(error)}.") from None
    try:
        check_segments(wanted.segments, contract, where="segments")
        check_exploration(wanted.exploration, contract, where="exploration")
    except ValueError as error:
        raise PolicyFileError(f"{path or contract.name}: {error}.") from None
    return wanted


def _first_problem(error: ValidationError) -> str:
    first = error.errors()[0]
    path = first["loc"]
    # Behind an objective's key Pydantic names the kind of objective, which nobody wrote there.
    path = path[:1] + path[2:] if path[:1] in (("review",), ("decline",)) else path
    keys = [str(part) for part in path]
    message = first["msg"].removeprefix("Value error, ")
    value = first["input"]
    got = "" if isinstance(value, dict) else f", got {value!r}"
    return f"{'.'.join(keys)}: {message}{got}" if keys else message

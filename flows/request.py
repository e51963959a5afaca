"""What a person asks for when a model is to be trained; also the parameters of the flow."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from balancing.rivals.registry import RELEASED_KINDS
from balancing.strategies.strategy import Device
from features.contract import Contract, read_contract
from flows.moments import RequestError, aware, parse_moment
from flows.registration.config import OUTPUTS, RegisteredConfig
from flows.run_config import RunConfig, read_run_config


class TrainRequest(BaseModel):
    """One training: which data, under which contract, how.

    Attributes:
        data: A table in any format that whitecrow reads.
        contract: Path of a contract, or the name of a shipped one.
        test: A separate file of test rows; then every row of ``data`` is for fitting.
        name: Name of the model; default: the contract's.
        config: Strategy, seed, rule for few positives.
        device: Where to train.
        as_of: The moment whose knowledge counts; a naive one is read as UTC.
        since: Rows before it are only the past of the others; default: there are none.
        accepts_drift: Whether data that lie far from the live version's are trained on, too.
        actor: Who asks.
        reason: Why.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str
    contract: str
    test: Path | None = None
    name: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")
    config: RunConfig = Field(default_factory=RunConfig)
    device: Device = "auto"
    as_of: Annotated[datetime | None, AfterValidator(aware)] = None
    since: Annotated[datetime | None, AfterValidator(aware)] = None
    accepts_drift: bool = False
    actor: str
    reason: str = "trained on request"

    @property
    def model_name(self) -> str:
        """The model's name."""
        return self.name or self.read_contract().name

    @property
    def sources(self) -> dict[str, str]:
        """Path or URI of the data, and of the test rows where they are apart."""
        test = {} if self.test is None else {"test": str(self.test)}
        return {"data": self.data, **test}

    def read_contract(self) -> Contract:
        """Return the contract, its patterns not yet expanded.

        Raises:
            ContractError: If there is none, or it is wrong.
        """
        return read_contract(self.contract)


def train_request(
    *,
    strategy: str | None = None,
    config: Path | None = None,
    seed: int | None = None,
    search_budget: float | None = None,
    include: str | None = None,
    as_of: str | None = None,
    **values: Any,
) -> TrainRequest:
    """Return the request that a command line means.

    Raises:
        RunConfigError: If the configuration file is wrong.
        RequestError: If a value is.
    """
    run_config = read_run_config(
        config, strategy=strategy, seed=seed, search_budget=search_budget, include=include
    )
    if run_config.strategy.kind in RELEASED_KINDS and values.get("device") == "cuda":
        raise RequestError("--device: trees grow on the processor. Say cpu, or leave it out.")
    return checked_request(config=run_config, as_of=parse_moment(as_of), **values)


def registration_request(
    model: Path, *, output: str | None = None, as_of: str | None = None, **values: Any
) -> TrainRequest:
    """Return the request to release a model that was made elsewhere.

    Args:
        model: An ONNX file.
        output: What it puts out: logits, log_odds or probability; None to find out.
        as_of: A moment, ISO 8601.
        values: Of :class:`TrainRequest`.

    Raises:
        ModelRefused: If the file cannot be released, whatever the data.
        RequestError: If a value is wrong.
    """
    # ONNX is not there where models are only asked about.
    from flows.registration.user_model import read_user_model

    try:
        strategy = RegisteredConfig.model_validate(
            {"file": str(model), "sha256": read_user_model(model).sha256, "output": output}
        )
    except ValidationError:
        raise RequestError(
            f"--output must be one of {', '.join(OUTPUTS)}. Got {output!r}."
        ) from None
    config = RunConfig(strategy=strategy)
    return checked_request(config=config, as_of=parse_moment(as_of), **values)


def checked_request(**values: Any) -> TrainRequest:
    """Return a request, or say which option is wrong.

    Raises:
        RequestError: If a value is.
    """
    try:
        return TrainRequest(**values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]).replace("_", "-")
        raise RequestError(f"--{key}: {first['msg']}. Got {first['input']!r}.") from None

"""What a person, or a schedule, asks for when a model is to be trained anew."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from balancing.strategies.strategy import Device
from flows.moments import RequestError, aware, parse_moment
from flows.run_config import RunConfig, read_run_config

_Moment = Annotated[datetime | None, AfterValidator(aware)]


class RetrainRequest(BaseModel):
    """One retraining. What is left out is the champion's.

    Attributes:
        name: Of the model.
        data: Tables in any format that whitecrow reads, of the same columns; together they are the
            data. Left out: those that the champion was trained from.
        contract: Path of a contract, or the name of a shipped one.
        config: Strategy, seed, rule for few positives.
        seed: In place of the configuration's.
        device: Where to train.
        since: Rows from then on, in event time; a naive moment is read as UTC.
        until: Rows before then.
        as_of: The moment whose knowledge of labels counts; default: ``until``, or the newest event
            time where there is none.
        actor: Who asks.
        reason: Why.
        again: Train even if the same was done before.
        accepts_drift: Whether data that lie far from the champion's are trained on, too.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")
    data: tuple[str, ...] = ()
    contract: str | None = None
    config: RunConfig | None = None
    seed: int | None = Field(default=None, ge=0)
    device: Device = "auto"
    since: _Moment = None
    until: _Moment = None
    as_of: _Moment = None
    actor: str
    reason: str = "retrained on request"
    again: bool = False
    accepts_drift: bool = False

    @model_validator(mode="after")
    def _window_has_a_length(self) -> Self:
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise ValueError(
                f"a window begins before it ends; this one begins {self.since:%Y-%m-%d %H:%M} and "
                f"ends {self.until:%Y-%m-%d %H:%M}"
            )
        return self

    @property
    def knows_until(self) -> datetime | None:
        """The moment whose knowledge counts; None for the newest event time."""
        return self.as_of or self.until

    @property
    def has_window(self) -> bool:
        """Whether rows are picked by their event time."""
        return self.since is not None or self.until is not None


def retrain_request(
    *,
    strategy: str | None = None,
    search_budget: float | None = None,
    include: str | None = None,
    config: Path | None = None,
    since: str | None = None,
    until: str | None = None,
    as_of: str | None = None,
    **values: Any,
) -> RetrainRequest:
    """Return the request that a command line means.

    A configuration is the champion's unless one of the first four options says another.

    Raises:
        RunConfigError: If the configuration file is wrong.
        RequestError: If a value is.
    """
    own = (strategy, search_budget, include, config)
    if any(value is not None for value in own):
        values["config"] = read_run_config(
            config, strategy=strategy, seed=None, search_budget=search_budget, include=include
        )
    try:
        return RetrainRequest(
            since=parse_moment(since, "--from"),
            until=parse_moment(until, "--to"),
            as_of=parse_moment(as_of),
            **values,
        )
    except ValidationError as error:
        first = error.errors()[0]
        if not first["loc"]:
            raise RequestError(f"--from, --to: {first['ctx']['error']}.") from None
        key = str(first["loc"][0])
        shown = "NAME" if key == "name" else f"--{key.replace('_', '-')}"
        raise RequestError(f"{shown}: {first['msg']}. Got {first['input']!r}.") from None

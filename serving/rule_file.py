"""What a file of hard rules may say (:mod:`serving.hard_rules` tells what it means)."""

import tomllib
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
    StrictStr,
    ValidationError,
    model_validator,
)

from infra.errors import InputError

FLAG = "hard_rule:"
"""Begins the flag of every hard rule that decided."""


class RulesUnusable(InputError):
    """Raised when a file of hard rules cannot be read, or says what makes no sense."""


def _moment(value: object) -> object:
    """Return when a rule ends: a date is its last day, and a moment needs its offset."""
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError("give the moment with its offset, such as 2027-01-31T12:00:00Z")
        return value
    if type(value) is date:
        return datetime(value.year, value.month, value.day, tzinfo=UTC) + timedelta(days=1)
    raise ValueError("give a date such as 2027-01-31, without quotes")


_Values = Annotated[tuple[StrictInt | StrictStr, ...], Field(min_length=1)]


class _Rule(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    reason: str = Field(min_length=1)
    expires: Annotated[datetime, BeforeValidator(_moment)]

    @property
    def flag(self) -> str:
        """What an answer's flags say of the rule."""
        return FLAG + self.name


class ListedRule(_Rule):
    """A rule about some entities."""

    column: str
    values: _Values


class AllowRule(ListedRule):
    """Approves what the model would stop."""

    overrides_row_rules: bool = False


class CapRule(_Rule):
    """At least a decision above an amount."""

    max_amount: float = Field(ge=0, allow_inf_nan=False)
    decision: Literal["review", "decline"] = "review"
    column: str | None = None
    values: _Values | None = None

    @model_validator(mode="after")
    def _both_or_none(self) -> "CapRule":
        if (self.column is None) != (self.values is None):
            raise ValueError("give column and values together, or neither for every row")
        return self


class RuleFile(BaseModel):
    """The rules of one file, as it says them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    deny: tuple[ListedRule, ...] = ()
    allow: tuple[AllowRule, ...] = ()
    cap: tuple[CapRule, ...] = ()


def read_rules(content: str, source: str) -> RuleFile:
    """Return what a file of hard rules says.

    Args:
        content: TOML.
        source: Names the file in messages.

    Raises:
        RulesUnusable: If it is not as the module says.
    """
    try:
        return RuleFile.model_validate(tomllib.loads(content))
    except tomllib.TOMLDecodeError as error:
        raise RulesUnusable(f"{source} is not TOML: {error}.") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        said = first["msg"].removeprefix("Value error, ")
        raise RulesUnusable(f"{source}: {where}: {said}.") from None

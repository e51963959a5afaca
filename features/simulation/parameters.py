"""What every simulator's parameters have in common: they are frozen, and refused in one line."""

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from infra.errors import InputError

Seed = Annotated[int, Field(ge=0)]
RowCount = Annotated[int, Field(ge=1, le=10_000_000_000)]


class SimulationError(InputError):
    """Raised when a simulator is asked for something it cannot make."""


class SimulationParameters(BaseModel):
    """Frozen parameters that name a misspelt key instead of ignoring it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def checked(cls, settings: Mapping[str, object]) -> Self:
        """Return the parameters in `settings`, or raise one line naming the first bad one.

        Raises:
            SimulationError: If a setting is unknown, of the wrong type or out of range.
        """
        try:
            return cls.model_validate(dict(settings))
        except ValidationError as error:
            raise SimulationError(_one_line(error, known=tuple(cls.model_fields))) from None


def _one_line(error: ValidationError, *, known: tuple[str, ...]) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        hint = f" Known settings: {', '.join(known)}." if len(first["loc"]) == 1 else ""
        return f"Unknown simulation setting {where}.{hint}"
    message = first["msg"].removeprefix("Value error, ").rstrip(".")
    if not where:
        return f"{message}."
    return f"Simulation setting {where} is not valid: {message}. Got {where}={first['input']!r}."

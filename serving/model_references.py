"""How a model is named: ``NAME``, ``NAME@champion``, ``NAME@challenger`` or ``NAME:3``."""

import re
from dataclasses import dataclass
from typing import Self

from infra.errors import InputError

_SPELLING = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9_-]{0,62})(?:@(?P<alias>\w+)|:(?P<version>\d{1,9}))?"
)


class UnknownModel(InputError):
    """Raised when a reference names no model, version, alias or policy of the store."""


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """The version and policy that a reference means right now."""

    name: str
    model_version: str
    policy_version: str


@dataclass(frozen=True, slots=True)
class ModelReference:
    """A reference in its parts; a bare name has neither alias nor version."""

    name: str
    alias: str | None = None
    version: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the parts of a reference.

        Raises:
            UnknownModel: If it is not written as one.
        """
        match = _SPELLING.fullmatch(text)
        if match is None:
            raise UnknownModel(
                f"A model is written NAME, NAME@champion, NAME@challenger or NAME:3. Got {text!r}."
            )
        return cls(match["name"], match["alias"], match["version"])

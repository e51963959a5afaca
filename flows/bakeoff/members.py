"""Who takes part in a bake-off: shipped members by name, and a user's own from TOML files.

Every member tries the same number of settings. The first trial is its defaults; the others are
drawn from its space, the same for everybody who asks for the same member.
"""

import difflib
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from balancing.networks.mlp import MlpConfig
from balancing.rivals.registry import SEARCH_SPACES
from flows.bakeoff.fits import is_rival, read_any
from flows.complaints import first_complaint
from infra.errors import InputError


class UnknownMember(InputError):
    """Raised for a member that is neither shipped nor a readable file."""


class Member(BaseModel):
    """One way to train.

    Attributes:
        name: What the table calls it.
        family: ``network``, ``tree`` or ``line``; networks are compared with the best tree.
        strategy: Configuration, as in a run configuration's ``[strategy]``.
        trains: Where in it the settings of the whole network's training stand: ``extractor`` for
            strategies that retrain the head.
        space: Values to try, by dotted place in the configuration; beside those that all
            networks share.
        max_rows: More training rows than this, and it does not start.
        about: One line.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    family: str = "network"
    strategy: dict[str, Any]
    trains: str = ""
    space: dict[str, list[Any]] = Field(default_factory=dict)
    max_rows: int | None = None
    about: str = ""

    def trial(self, number: int, *, shared: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the configuration of a trial.

        Args:
            number: 0 for the defaults.
            shared: Tables that every network has in place of its defaults; what the member
                says itself goes before, and a table of another kind stays as it is.
        """
        strategy: dict[str, Any] = _copied(self.strategy)
        prefix = f"{self.trains}." if self.trains else ""
        if self.family == "network":
            for key, value in (shared or {}).items():
                own = table_at(strategy, f"{prefix}{key}")
                if own.get("kind") in {None, value.get("kind")}:
                    place(strategy, f"{prefix}{key}", {**_copied(value), **own})
        space = self.space
        if self.family == "network":
            space = {f"{prefix}{key}": values for key, values in _shared_space().items()} | space
        if number:
            if self.family == "network":
                # A table of a tagged union needs its tag.
                table_at(strategy, f"{prefix}network").setdefault("kind", MlpConfig().kind)
            rng = np.random.default_rng([number, *self.name.encode()])
            for key in sorted(space):
                place(strategy, key, space[key][rng.integers(len(space[key]))])
        return strategy


def place(mapping: dict[str, Any], dotted: str, value: Any) -> None:
    """Put a value at a dotted place, making the tables on the way."""
    *tables, last = dotted.split(".")
    table_at(mapping, ".".join(tables))[last] = value


def table_at(mapping: dict[str, Any], dotted: str) -> dict[str, Any]:
    """Return the table at a dotted place, made where it is missing; the mapping itself at ""."""
    for table in filter(None, dotted.split(".")):
        mapping = mapping.setdefault(table, {})
    return mapping


def shipped_members() -> dict[str, Member]:
    """Return every shipped member by name."""
    tables = _shipped()["members"]
    found = {name: Member(name=name, **values) for name, values in tables.items()}
    for name, member in found.items():
        if space := SEARCH_SPACES.get(member.strategy["kind"]):
            own = {key: list(values) for key, values in space.items()}
            found[name] = member.model_copy(update={"space": own | member.space})
    return found


def find_member(name: str) -> Member:
    """Return a shipped member, or the one that a TOML file describes.

    Raises:
        UnknownMember: If there is none of that name, or the file is not a configuration.
    """
    shipped = shipped_members()
    if name in shipped:
        return shipped[name]
    if name.endswith(".toml"):
        return _from_file(Path(name))
    meant = difflib.get_close_matches(name, shipped, n=1)
    hint = f"Did you mean {meant[0]!r}? " if meant else ""
    raise UnknownMember(
        f"There is no strategy {name!r}. {hint}Known: {', '.join(shipped)}; "
        "or give a TOML file with a [strategy]."
    )


def find_members(names: Sequence[str]) -> list[Member]:
    """Return every member once, in the order of their names.

    Raises:
        UnknownMember: If there is none of a name, or two are called the same.
    """
    members = [find_member(name) for name in dict.fromkeys(names)]
    for name, times in Counter(member.name for member in members).items():
        if times > 1:
            raise UnknownMember(
                f"Two strategies are called {name!r}; a file is called by its name without .toml. "
                "Rename the file."
            )
    return members


def _from_file(path: Path) -> Member:
    try:
        mapping = tomllib.loads(path.read_text("utf-8"))
        strategy = {"kind": "erm", **mapping["strategy"]}
        read_any(strategy)
    except OSError as error:
        raise UnknownMember(f"Cannot read {path}: {error.strerror}.") from None
    except KeyError:
        raise UnknownMember(f"{path} has no [strategy]. Add one with a kind.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UnknownMember(f"{path} is not valid TOML: {error}.") from None
    except ValidationError as error:
        raise UnknownMember(f"{path}: {first_complaint(error, below='strategy')}") from None
    family = "tree" if is_rival(strategy) else "network"
    return Member(name=path.stem, family=family, strategy=strategy)


@cache
def _shipped() -> dict[str, Any]:
    return tomllib.loads((files("flows.bakeoff") / "members.toml").read_text("utf-8"))


def _shared_space() -> dict[str, list[Any]]:
    space: dict[str, list[Any]] = _shipped()["shared_space"]
    return space


def _copied(value: Any) -> Any:
    return {key: _copied(each) for key, each in value.items()} if isinstance(value, dict) else value

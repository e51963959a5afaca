"""How a run trains: the strategy, the seed and the rule for few positives. Read from TOML."""

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from balancing.cross_fitting import FEWEST_HELD_BACK_POSITIVES
from balancing.rivals.registry import RELEASED_KINDS
from balancing.strategies.erm import ErmConfig
from flows.complaints import first_complaint
from flows.released_strategy import TREES, ReleasedStrategy, require_tree_libraries
from flows.toml_file import read_toml
from infra.errors import InputError

AUTO = "auto"
AUTO_MEMBERS = ("erm", "tabm", "metabalance", "eos", "sam_a", "vs_loss", "metabalance_reversed")


class RunConfigError(InputError):
    """Raised for a run configuration that cannot be read; names the offending key."""


class SearchConfig(BaseModel):
    """Which strategies ``--strategy auto`` tries.

    Attributes:
        budget_minutes: Nothing new is begun after so long, and what runs then is ended. Plain
            training with its defaults always finishes. The final fit comes on top.
        members: Names of a bake-off's members, in the order of their turn.
        n_trials: Settings of each, its defaults first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    budget_minutes: float = Field(default=20.0, gt=0)
    members: tuple[str, ...] = Field(default=AUTO_MEMBERS, min_length=1)
    n_trials: int = Field(default=8, ge=1)


class RunConfig(BaseModel):
    """Everything that shapes a trained model apart from the data and the contract.

    Attributes:
        strategy: A tagged union on ``kind``.
        seed: Fixes the result to the bit, on one machine and thread count.
        few_positives: With fewer positives than this in validation and calibration together,
            the length of training and the calibration come from ``n_folds`` folds over all rows
            that are not test rows, and the network is fitted again on all of them.
        n_folds: Folds of the above.
        search: Which strategies to try first; what is found takes the place of ``strategy``,
            whose network and training are then every candidate's.
        include: What may be released beside networks: ``trees``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    strategy: ReleasedStrategy = Field(default_factory=ErmConfig)
    seed: int = Field(default=0, ge=0)
    few_positives: int = Field(default=FEWEST_HELD_BACK_POSITIVES, ge=0)
    n_folds: int = Field(default=4, ge=2)
    search: SearchConfig | None = None
    include: tuple[Literal["trees"], ...] = ()


def read_run_config(
    path: Path | None,
    *,
    strategy: str | None,
    seed: int | None,
    search_budget: float | None = None,
    include: str | None = None,
) -> RunConfig:
    """Return a configuration with the command line's choices laid over it.

    Args:
        path: A TOML file, or the name of a shipped configuration; ``None`` for the default.
        strategy: Kind of strategy, or member of a bake-off, in place of the configuration's;
            ``auto`` to search for one.
        seed: In place of the configuration's.
        search_budget: Minutes that a search may take.
        include: What may be released beside networks: ``trees``.

    Raises:
        RunConfigError: If there is no such file, or it has an unknown key or a bad value, or a
            budget is given without a search, or trees without being included.
        MissingExtra: If trees are included and their libraries are not installed.
        UnknownMember: If a search names a candidate that there is not.
    """
    mapping = _read_named(path) if path else {}
    if strategy == AUTO:
        mapping.setdefault("search", {})
        strategy = None
    if search_budget is not None:
        if not isinstance(mapping.get("search"), dict):
            raise RunConfigError("--search-budget needs --strategy auto.")
        mapping["search"]["budget_minutes"] = search_budget
    if include is not None:
        mapping["include"] = [include]
    given = mapping.get("strategy", {})
    if isinstance(given, dict):
        mapping["strategy"] = _laid_over(given, _named_strategy(strategy))
    if seed is not None:
        mapping["seed"] = seed
    try:
        config = RunConfig.model_validate(mapping)
    except ValidationError as error:
        if include is not None and error.errors()[0]["loc"][0] == "include":
            raise RunConfigError(f"--include: there is no {include!r}, only {TREES!r}.") from None
        where = f"{path}: " if path else ""
        raise RunConfigError(f"{where}{first_complaint(error)}") from None
    return _with_included(config)


def _laid_over(given: dict[str, Any], named: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration file's strategy with the one that the command line named over it."""
    if named.get("kind") in RELEASED_KINDS and given.get("kind") != named["kind"]:
        # A network's settings mean nothing to trees.
        return named
    return {"kind": "erm", **given} | named


def _with_included(config: RunConfig) -> RunConfig:
    """Return the configuration with trees among a search's candidates, where they may be.

    Raises:
        RunConfigError: If trees are asked for and not included, or included for a network.
    """
    kind, search = config.strategy.kind, config.search
    if kind == "registered":
        raise RunConfigError(
            "strategy.kind: 'registered' is a model made elsewhere. Give it to whitecrow register."
        )
    trees: list[str] = [kind] if kind in RELEASED_KINDS else []
    if search is not None:
        trees += _trees_among(search.members)
    if TREES not in config.include:
        if trees:
            raise RunConfigError(
                f"{trees[0]!r} grows trees and trains no network. Add --include trees to release "
                "it, or see what it is worth by whitecrow benchmark."
            )
        return config
    if search is None and not trees:
        raise RunConfigError(
            f"--include trees: {kind!r} trains a network. Take --strategy auto, lightgbm or "
            "xgboost, or leave --include out."
        )
    require_tree_libraries()
    if search is None:
        return config
    first, *others = search.members
    missing = [name for name in RELEASED_KINDS if name not in search.members]
    # Behind plain training: they are done soon, and a short budget should not end before them.
    searched = search.model_copy(update={"members": (first, *missing, *others)})
    return config.model_copy(update={"search": searched})


def _trees_among(members: tuple[str, ...]) -> list[str]:
    """Return the candidates that grow trees.

    Raises:
        RunConfigError: If one can be compared only.
    """
    # The members are read by the same checks as a configuration.
    from flows.bakeoff.members import find_member

    found = [find_member(name) for name in members]
    for member in found:
        if member.family != "network" and member.strategy["kind"] not in RELEASED_KINDS:
            raise _compared_only(member.name)
    return [member.name for member in found if member.family != "network"]


def _compared_only(name: str) -> RunConfigError:
    return RunConfigError(
        f"{name!r} takes part in whitecrow benchmark only; what is released is a network or, "
        f"with --include trees, one of {', '.join(RELEASED_KINDS)}."
    )


def _named_strategy(name: str | None) -> dict[str, Any]:
    """Return the configuration of a kind, or of a member of bake-offs."""
    if name is None:
        return {}
    # The members are read by the same checks as a configuration.
    from flows.bakeoff.members import shipped_members

    member = shipped_members().get(name)
    if member is None:
        return {"kind": name}
    if member.family != "network" and member.strategy["kind"] not in RELEASED_KINDS:
        raise _compared_only(name)
    return member.strategy


def shipped_run_configs() -> list[str]:
    """Return the names of the run configurations that come with whitecrow."""
    folder = files("balancing") / "presets"
    return sorted(item.name[:-5] for item in folder.iterdir() if item.name.endswith(".toml"))


def _read_named(path: Path) -> dict[str, Any]:
    """Return what a file holds, or a shipped configuration of that name."""
    if path.suffix == ".toml" or path.is_file():
        return read_toml(path, RunConfigError, what="Configuration")
    shipped = files("balancing") / "presets" / f"{path}.toml"
    if not shipped.is_file():
        raise RunConfigError(
            f"No run configuration {str(path)!r}: neither a file nor a shipped one "
            f"({', '.join(shipped_run_configs())})."
        )
    return tomllib.loads(shipped.read_text("utf-8"))

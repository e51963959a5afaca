"""How a run trains: the strategy, the seed and the rule for few positives. Read from TOML."""

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from balancing.cross_fitting import FEWEST_HELD_BACK_POSITIVES
from balancing.strategies.erm import ErmConfig
from balancing.strategies.registry import StrategyConfig
from flows.complaints import first_complaint
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
    """Everything that shapes a trained network apart from the data and the contract.

    Attributes:
        strategy: A tagged union on ``kind``.
        seed: Fixes the result to the bit, on one machine and thread count.
        few_positives: With fewer positives than this in validation and calibration together,
            the length of training and the calibration come from ``n_folds`` folds over all rows
            that are not test rows, and the network is fitted again on all of them.
        n_folds: Folds of the above.
        search: Which strategies to try first; what is found takes the place of ``strategy``,
            whose network and training are then every candidate's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    strategy: StrategyConfig = Field(default_factory=ErmConfig)
    seed: int = Field(default=0, ge=0)
    few_positives: int = Field(default=FEWEST_HELD_BACK_POSITIVES, ge=0)
    n_folds: int = Field(default=4, ge=2)
    search: SearchConfig | None = None


def read_run_config(
    path: Path | None,
    *,
    strategy: str | None,
    seed: int | None,
    search_budget: float | None = None,
) -> RunConfig:
    """Return a configuration with the command line's choices laid over it.

    Args:
        path: A TOML file, or the name of a shipped configuration; ``None`` for the default.
        strategy: Kind of strategy, or member of a bake-off, in place of the configuration's;
            ``auto`` to search for one.
        seed: In place of the configuration's.
        search_budget: Minutes that a search may take.

    Raises:
        RunConfigError: If there is no such file, or it has an unknown key or a bad value, or a
            budget is given without a search.
    """
    mapping = _read_named(path) if path else {}
    if strategy == AUTO:
        mapping.setdefault("search", {})
        strategy = None
    if search_budget is not None:
        if not isinstance(mapping.get("search"), dict):
            raise RunConfigError("--search-budget needs --strategy auto.")
        mapping["search"]["budget_minutes"] = search_budget
    given = mapping.get("strategy", {})
    if isinstance(given, dict):
        mapping["strategy"] = {"kind": "erm", **given} | _named_strategy(strategy)
    if seed is not None:
        mapping["seed"] = seed
    try:
        return RunConfig.model_validate(mapping)
    except ValidationError as error:
        where = f"{path}: " if path else ""
        raise RunConfigError(f"{where}{first_complaint(error)}") from None


def _named_strategy(name: str | None) -> dict[str, Any]:
    """Return the configuration of a kind, or of a member of bake-offs."""
    if name is None:
        return {}
    # The members are read by the same checks as a configuration.
    from flows.bakeoff.members import shipped_members

    member = shipped_members().get(name)
    if member is None:
        return {"kind": name}
    if member.family != "network":
        raise RunConfigError(
            f"{name!r} takes part in whitecrow benchmark only; what is released is a network."
        )
    return member.strategy


def shipped_run_configs() -> list[str]:
    """Return the names of the run configurations that come with whitecrow."""
    folder = files("balancing") / "presets"
    return sorted(item.name[:-5] for item in folder.iterdir() if item.name.endswith(".toml"))


def _read_named(path: Path) -> dict[str, Any]:
    """Return what a file holds, or a shipped configuration of that name."""
    if path.suffix == ".toml" or path.is_file():
        return _read_toml(path)
    shipped = files("balancing") / "presets" / f"{path}.toml"
    if not shipped.is_file():
        raise RunConfigError(
            f"No run configuration {str(path)!r}: neither a file nor a shipped one "
            f"({', '.join(shipped_run_configs())})."
        )
    return tomllib.loads(shipped.read_text("utf-8"))


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise RunConfigError(f"Cannot read {path}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise RunConfigError(f"Cannot read {path}: it is not UTF-8 text.") from None
    except tomllib.TOMLDecodeError as error:
        raise RunConfigError(f"Configuration {path} is not valid TOML: {error}.") from None

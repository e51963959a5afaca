"""What may be released, by its kind: a network's strategy, boosted trees, a user's own model."""

import importlib
from typing import Annotated, Any, TypeAlias

from pydantic import Field, TypeAdapter

from balancing.extras import extra
from balancing.rivals.registry import RELEASED_KINDS, TreeConfig
from balancing.strategies.registry import StrategyConfig
from flows.registration.config import RegisteredConfig

ReleasedStrategy: TypeAlias = Annotated[
    StrategyConfig | TreeConfig | RegisteredConfig, Field(discriminator="kind")
]

TREES = "trees"
"""What ``--include`` may name."""

_ADAPTER: TypeAdapter[ReleasedStrategy] = TypeAdapter(ReleasedStrategy)


def read_released(mapping: dict[str, Any]) -> ReleasedStrategy:
    """Return a configuration from its plain form, for instance ``{"kind": "lightgbm"}``."""
    return _ADAPTER.validate_python(mapping)


def require_tree_libraries() -> None:
    """Refuse to begin what would end at a missing library.

    Raises:
        MissingExtra: If a library that grows trees is not installed.
    """
    with extra("trees", needed_by="--include trees"):
        for library in RELEASED_KINDS:
            importlib.import_module(library)

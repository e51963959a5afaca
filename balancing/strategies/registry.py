"""Every strategy by its name in a configuration; adding one means one line in each place."""

from typing import TypeAlias

from pydantic import TypeAdapter

from balancing.strategies.erm import Erm, ErmConfig
from balancing.strategies.strategy import Strategy

# With a second strategy: Annotated[ErmConfig | ..., Field(discriminator="kind")].
StrategyConfig: TypeAlias = ErmConfig

STRATEGIES: dict[type[StrategyConfig], type[Erm]] = {ErmConfig: Erm}


def build_strategy(config: StrategyConfig) -> Strategy:
    """Return the strategy that the configuration describes."""
    return STRATEGIES[type(config)](config)


def read_strategy(mapping: dict[str, object]) -> StrategyConfig:
    """Return a configuration from its plain form, for instance ``{"kind": "erm"}``."""
    return TypeAdapter[StrategyConfig](StrategyConfig).validate_python(mapping)

"""Every strategy by its name in a configuration; adding one means one line in each place.

Those that train a whole network stand in ``extractors.py``: a strategy that retrains the head
builds on any of them.
"""

from collections.abc import Callable
from typing import Annotated, Any, TypeAlias

from pydantic import Field, TypeAdapter

from balancing.strategies.eos import Eos, EosConfig
from balancing.strategies.extractors import ExtractorConfig, build_extractor
from balancing.strategies.head_retraining import (
    Crt,
    CrtConfig,
    HeadRetrainingConfig,
    Lws,
    LwsConfig,
)
from balancing.strategies.strategy import Strategy

StrategyConfig: TypeAlias = Annotated[
    ExtractorConfig | CrtConfig | EosConfig | LwsConfig, Field(discriminator="kind")
]

HEAD_RETRAINERS: dict[type[HeadRetrainingConfig], Callable[[Any], Strategy]] = {
    CrtConfig: Crt,
    EosConfig: Eos,
    LwsConfig: Lws,
}

_ADAPTER: TypeAdapter[StrategyConfig] = TypeAdapter(StrategyConfig)


def build_strategy(config: StrategyConfig) -> Strategy:
    """Return the strategy that the configuration describes."""
    if isinstance(config, HeadRetrainingConfig):
        return HEAD_RETRAINERS[type(config)](config)
    return build_extractor(config)


def read_strategy(mapping: dict[str, object]) -> StrategyConfig:
    """Return a configuration from its plain form, for instance ``{"kind": "erm"}``."""
    return _ADAPTER.validate_python(mapping)

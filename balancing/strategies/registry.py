"""Every strategy by its name in a configuration; adding one means one line in each place.

Those that train a whole network stand in ``extractors.py``: a strategy that retrains the head
builds on any of them.
"""

from typing import TypeAlias

from pydantic import TypeAdapter

from balancing.strategies.extractors import ExtractorConfig, build_extractor
from balancing.strategies.strategy import Strategy

StrategyConfig: TypeAlias = ExtractorConfig

_ADAPTER: TypeAdapter[StrategyConfig] = TypeAdapter(StrategyConfig)


def build_strategy(config: StrategyConfig) -> Strategy:
    """Return the strategy that the configuration describes."""
    return build_extractor(config)


def read_strategy(mapping: dict[str, object]) -> StrategyConfig:
    """Return a configuration from its plain form, for instance ``{"kind": "erm"}``."""
    return _ADAPTER.validate_python(mapping)

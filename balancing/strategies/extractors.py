"""Every strategy that trains a whole network, by its name in a configuration."""

from collections.abc import Callable
from typing import Annotated, Any, TypeAlias

from pydantic import Field

from balancing.strategies.end_to_end import EndToEnd, EndToEndConfig
from balancing.strategies.erm import Erm, ErmConfig
from balancing.strategies.metabalance import MetaBalance, MetaBalanceConfig

ExtractorConfig: TypeAlias = Annotated[ErmConfig | MetaBalanceConfig, Field(discriminator="kind")]

EXTRACTORS: dict[type[EndToEndConfig], Callable[[Any], EndToEnd]] = {
    ErmConfig: Erm,
    MetaBalanceConfig: MetaBalance,
}


def build_extractor(config: EndToEndConfig) -> EndToEnd:
    """Return the strategy that the configuration describes."""
    return EXTRACTORS[type(config)](config)

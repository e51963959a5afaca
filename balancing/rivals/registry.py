"""Every rival by its name in a configuration; adding one means one line in each place."""

from collections.abc import Callable
from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, Field, TypeAdapter

from balancing.rivals.balanced_forest import BalancedForest, BalancedForestConfig
from balancing.rivals.catboost import CatBoost, CatBoostConfig
from balancing.rivals.lightgbm import LightGbm, LightGbmConfig
from balancing.rivals.logistic import Logistic, LogisticConfig
from balancing.rivals.rival import Rival, SearchSpace
from balancing.rivals.xgboost import XgBoost, XgBoostConfig

RivalConfig: TypeAlias = Annotated[
    LightGbmConfig | XgBoostConfig | CatBoostConfig | BalancedForestConfig | LogisticConfig,
    Field(discriminator="kind"),
]

TreeConfig: TypeAlias = LightGbmConfig | XgBoostConfig
"""Of rivals that can be released in place of a network."""

RELEASED_KINDS: tuple[str, ...] = ("lightgbm", "xgboost")
"""Their names; so are their libraries called."""

RIVALS: dict[type[BaseModel], Callable[[Any], Rival]] = {
    LightGbmConfig: LightGbm,
    XgBoostConfig: XgBoost,
    CatBoostConfig: CatBoost,
    BalancedForestConfig: BalancedForest,
    LogisticConfig: Logistic,
}

SEARCH_SPACES: dict[str, SearchSpace] = {
    "lightgbm": LightGbm.search_space,
    "xgboost": XgBoost.search_space,
    "catboost": CatBoost.search_space,
    "balanced_forest": BalancedForest.search_space,
    "logistic": Logistic.search_space,
}

_ADAPTER: TypeAdapter[RivalConfig] = TypeAdapter(RivalConfig)


def build_rival(config: RivalConfig) -> Rival:
    """Return the rival that the configuration describes."""
    return RIVALS[type(config)](config)


def read_rival(mapping: dict[str, object]) -> RivalConfig:
    """Return a configuration from its plain form, for instance ``{"kind": "lightgbm"}``."""
    return _ADAPTER.validate_python(mapping)

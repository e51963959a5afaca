"""Every strategy that trains a whole network, by its name in a configuration."""

from collections.abc import Callable
from typing import Annotated, Any, TypeAlias

from pydantic import Field

from balancing.strategies.balanced_bagging import BalancedBagging, BalancedBaggingConfig
from balancing.strategies.class_balanced import ClassBalanced, ClassBalancedConfig
from balancing.strategies.end_to_end import EndToEnd, EndToEndConfig
from balancing.strategies.erm import Erm, ErmConfig
from balancing.strategies.focal import Focal, FocalConfig
from balancing.strategies.ldam import Ldam, LdamConfig
from balancing.strategies.logit_adjustment import LogitAdjustment, LogitAdjustmentConfig
from balancing.strategies.major_feature_weakening import (
    MajorFeatureWeakening,
    MajorFeatureWeakeningConfig,
)
from balancing.strategies.meta_weight_net import MetaWeightNet, MetaWeightNetConfig
from balancing.strategies.metabalance import MetaBalance, MetaBalanceConfig
from balancing.strategies.resampled import Resampled, ResampledConfig
from balancing.strategies.sam_a import SamA, SamAConfig
from balancing.strategies.vs_loss import VsLoss, VsLossConfig

ExtractorConfig: TypeAlias = Annotated[
    ErmConfig
    | MetaBalanceConfig
    | ClassBalancedConfig
    | FocalConfig
    | LdamConfig
    | LogitAdjustmentConfig
    | MajorFeatureWeakeningConfig
    | MetaWeightNetConfig
    | ResampledConfig
    | BalancedBaggingConfig
    | SamAConfig
    | VsLossConfig,
    Field(discriminator="kind"),
]

EXTRACTORS: dict[type[EndToEndConfig], Callable[[Any], EndToEnd]] = {
    ErmConfig: Erm,
    MetaBalanceConfig: MetaBalance,
    ClassBalancedConfig: ClassBalanced,
    FocalConfig: Focal,
    LdamConfig: Ldam,
    LogitAdjustmentConfig: LogitAdjustment,
    MajorFeatureWeakeningConfig: MajorFeatureWeakening,
    MetaWeightNetConfig: MetaWeightNet,
    ResampledConfig: Resampled,
    BalancedBaggingConfig: BalancedBagging,
    SamAConfig: SamA,
    VsLossConfig: VsLoss,
}


def build_extractor(config: EndToEndConfig) -> EndToEnd:
    """Return the strategy that the configuration describes."""
    return EXTRACTORS[type(config)](config)

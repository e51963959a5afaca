"""From a configuration and training rows to an untrained network."""

import math
from typing import Annotated, TypeAlias

from pydantic import Field

from balancing.dataset import LabelledArrays
from balancing.networks.categories import CategoryConfig, CategoryLayer
from balancing.networks.inputs import InputLayer
from balancing.networks.mlp import MlpBody, MlpConfig
from balancing.networks.network import MemberBody, ScoringNetwork
from balancing.networks.numeric import NumericLayer
from balancing.networks.piecewise_linear import PiecewiseLinearEmbedding
from balancing.networks.tabm import TabMBody, TabMConfig
from balancing.preprocessing import (
    FixedNumericConfig,
    NumericStatistics,
    PiecewiseLinearConfig,
    category_shares,
    fit_numeric,
    quantile_edges,
    resolve_numeric,
    standardised,
)

NetworkConfig: TypeAlias = Annotated[MlpConfig | TabMConfig, Field(discriminator="kind")]


def build_network(
    config: MlpConfig | TabMConfig, train: LabelledArrays, *, cardinalities: tuple[int, ...] = ()
) -> ScoringNetwork:
    """Return a network that knows its inputs and whose weights are at their start.

    Args:
        config: Which network.
        train: Training rows; only they decide medians, scales, bins and category shares.
        cardinalities: Codes a categorical column, the missing and unknown ones included.

    Raises:
        OneClassOnly: If the rows hold one class only.
    """
    train.require_both_classes("training")
    fixed = resolve_numeric(config.numeric, train)
    statistics = fit_numeric(train.numeric, clip=fixed.clip)
    numeric = NumericLayer(statistics)
    n_copies = config.n_members if isinstance(config, MlpConfig) else 1
    inputs = InputLayer(
        numeric.d_out,
        embedding=_embedding(fixed, statistics, train, n_copies=n_copies),
        categories=_categories(config.categories, train, cardinalities, n_copies=n_copies),
    )
    return ScoringNetwork(numeric, _body(config, inputs, prior_logit=_prior_logit(train)))


def _body(config: MlpConfig | TabMConfig, inputs: InputLayer, *, prior_logit: float) -> MemberBody:
    if isinstance(config, TabMConfig):
        return TabMBody(config, inputs, prior_logit=prior_logit)
    return MlpBody(config, inputs, prior_logit=prior_logit)


def _embedding(
    config: FixedNumericConfig,
    statistics: NumericStatistics,
    train: LabelledArrays,
    *,
    n_copies: int,
) -> PiecewiseLinearEmbedding | None:
    if not isinstance(config, PiecewiseLinearConfig) or train.numeric.shape[1] == 0:
        return None
    edges = quantile_edges(standardised(train.numeric, statistics), n_bins=config.n_bins)
    return PiecewiseLinearEmbedding(
        edges,
        d_extra=len(statistics.indicator),
        d_embedding=config.d_embedding,
        n_members=n_copies,
    )


def _categories(
    config: CategoryConfig, train: LabelledArrays, cardinalities: tuple[int, ...], *, n_copies: int
) -> CategoryLayer | None:
    shares = category_shares(train, cardinalities)
    return CategoryLayer(shares, config, n_members=n_copies) if shares else None


def _prior_logit(train: LabelledArrays) -> float:
    """Return the log odds of the training rows: the head starts there, not at even odds."""
    negatives, positives = train.class_counts
    return math.log(positives / negatives)

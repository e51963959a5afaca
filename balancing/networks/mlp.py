"""A small ensemble of multi-layer perceptrons, trained together in one vectorised pass."""

from itertools import pairwise
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from balancing.networks.categories import CategoryConfig
from balancing.networks.inputs import InputLayer
from balancing.networks.layer_stack import LayerStack
from balancing.networks.network import MemberLinear
from balancing.preprocessing import AutomaticConfig, NumericConfig


class MlpConfig(BaseModel):
    """An ensemble of perceptrons: each member has its own weights and its own batches."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["mlp"] = "mlp"
    n_members: int = Field(default=8, ge=1, le=64)
    n_layers: int = Field(default=2, ge=1, le=8)
    width: int = Field(default=64, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    numeric: NumericConfig = AutomaticConfig()
    categories: CategoryConfig = CategoryConfig()


class MlpBody(LayerStack):
    """Linear layers, a batched product for all members."""

    has_own_batches = True

    def __init__(self, config: MlpConfig, inputs: InputLayer, *, prior_logit: float) -> None:
        sizes = [inputs.d_out, *[config.width] * config.n_layers]
        super().__init__(
            inputs,
            [MemberLinear(config.n_members, d_in, d_out) for d_in, d_out in pairwise(sizes)],
            n_members=config.n_members,
            width=config.width,
            dropout=config.dropout,
            prior_logit=prior_logit,
        )

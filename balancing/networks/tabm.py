"""TabM: one perceptron that makes several predictions (Gorishniy et al., arXiv 2410.24210).

The members share the weight matrices; each scales inputs and outputs of every layer by its
own vectors (BatchEnsemble, section 3.2) and has its own head (section 3.3).
"""

import math
from itertools import pairwise
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from balancing.networks.categories import CategoryConfig
from balancing.networks.inputs import InputLayer
from balancing.networks.layer_stack import LayerStack
from balancing.preprocessing import NumericConfig, PiecewiseLinearConfig


class TabMConfig(BaseModel):
    """TabM with piecewise-linear embeddings unless ``numeric`` says otherwise."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["tabm"] = "tabm"
    n_members: int = Field(default=16, ge=2, le=128, description="k in the paper.")
    n_layers: int = Field(default=2, ge=1, le=8)
    width: int = Field(default=128, ge=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    numeric: NumericConfig = PiecewiseLinearConfig()
    categories: CategoryConfig = CategoryConfig()


class TabMBody(LayerStack):
    """Shared linear layers between vectors of each member's own."""

    has_own_batches = False

    def __init__(self, config: TabMConfig, inputs: InputLayer, *, prior_logit: float) -> None:
        sizes = [inputs.d_out, *[config.width] * config.n_layers]
        super().__init__(
            inputs,
            [
                BatchEnsembleLinear(config.n_members, d_in, d_out, is_first=position == 0)
                for position, (d_in, d_out) in enumerate(pairwise(sizes))
            ],
            n_members=config.n_members,
            width=config.width,
            dropouts=[config.dropout] * config.n_layers,
            prior_logit=prior_logit,
        )


class BatchEnsembleLinear(nn.Module):
    """One shared matrix; a member scales its inputs and its outputs (section 3.2).

    The first layer's input scales start at random signs, so that members differ from the start;
    all other scales start at 1 (section 3.3).

    Shape:
        ``(m, n_rows, d_in)`` -> ``(n_members, n_rows, d_out)``, ``m`` = 1 or ``n_members``.
    """

    def __init__(self, n_members: int, d_in: int, d_out: int, *, is_first: bool) -> None:
        super().__init__()
        bound = 1 / math.sqrt(max(1, d_in))
        scale = torch.ones(n_members, 1, d_in)
        if is_first:
            scale = torch.randint(0, 2, scale.shape).float() * 2 - 1
        self.input_scale = nn.Parameter(scale)
        self.weight = nn.Parameter(torch.empty(d_out, d_in).uniform_(-bound, bound))
        self.output_scale = nn.Parameter(torch.ones(n_members, 1, d_out))
        self.bias = nn.Parameter(torch.empty(n_members, 1, d_out).uniform_(-bound, bound))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the scaled products."""
        shared = nn.functional.linear(inputs * self.input_scale, self.weight)
        return torch.addcmul(self.bias, shared, self.output_scale)

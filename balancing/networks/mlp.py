"""A small ensemble of multi-layer perceptrons, trained together in one vectorised pass."""

from itertools import pairwise
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from balancing.networks.categories import CategoryConfig
from balancing.networks.inputs import InputLayer
from balancing.networks.layer_stack import LayerStack
from balancing.networks.network import MemberLinear
from balancing.preprocessing import AutomaticConfig, NumericConfig

Share: TypeAlias = Annotated[float, Field(ge=0, lt=1)]
Width: TypeAlias = Annotated[int, Field(ge=1)]


class MlpConfig(BaseModel):
    """An ensemble of perceptrons: each member has its own weights and its own batches.

    Attributes:
        n_members: Perceptrons.
        n_layers: Hidden layers.
        width: Of each hidden layer.
        widths: One a hidden layer, where they differ; ``n_layers`` and ``width`` then say nothing.
        dropout: Share of a hidden layer's outputs that training leaves out: one for all layers,
            or one a layer.
        numeric: How numbers enter.
        categories: How categories enter.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["mlp"] = "mlp"
    n_members: int = Field(default=8, ge=1, le=64)
    n_layers: int = Field(default=2, ge=1, le=8)
    width: int = Field(default=64, ge=1)
    widths: tuple[Width, ...] | None = Field(default=None, min_length=1, max_length=8)
    dropout: Share | tuple[Share, ...] = 0.0
    numeric: NumericConfig = AutomaticConfig()
    categories: CategoryConfig = CategoryConfig()

    @property
    def hidden_widths(self) -> tuple[int, ...]:
        """Width of each hidden layer."""
        return self.widths or (self.width,) * self.n_layers

    @property
    def dropouts(self) -> tuple[float, ...]:
        """Share left out after each hidden layer."""
        if isinstance(self.dropout, tuple):
            return self.dropout
        return (self.dropout,) * len(self.hidden_widths)

    @model_validator(mode="after")
    def _one_dropout_a_layer(self) -> "MlpConfig":
        if len(self.dropouts) != len(self.hidden_widths):
            raise ValueError(
                "dropout must be one number, or one for each hidden layer. Got "
                f"{len(self.dropouts)} for {len(self.hidden_widths)} layers."
            )
        return self


class MlpBody(LayerStack):
    """Linear layers, a batched product for all members."""

    has_own_batches = True

    def __init__(self, config: MlpConfig, inputs: InputLayer, *, prior_logit: float) -> None:
        sizes = [inputs.d_out, *config.hidden_widths]
        super().__init__(
            inputs,
            [MemberLinear(config.n_members, d_in, d_out) for d_in, d_out in pairwise(sizes)],
            n_members=config.n_members,
            width=sizes[-1],
            dropouts=config.dropouts,
            prior_logit=prior_logit,
        )

    def first_layer(self, inputs: Tensor, codes: Tensor) -> Tensor:
        """Return the first layer of the inputs, without the embedding in between."""
        linear = self.layers[0]
        assert isinstance(linear, MemberLinear)
        return self.inputs.product(inputs, codes, linear.weight, linear.bias)

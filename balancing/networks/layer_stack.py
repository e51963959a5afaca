"""Hidden layers one after the other and a head on top: the body that MLP and TabM share."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from balancing.networks.dropout import ByteDropout
from balancing.networks.inputs import InputLayer
from balancing.networks.network import MemberBody, MemberLinear


class LayerStack(MemberBody):
    """Rectified layers with dropout after each, and one output a member.

    Args:
        inputs: From inputs and codes to what the first layer takes.
        layers: ``(m, n_rows, d_in)`` -> ``(n_members, n_rows, d_out)`` each.
        n_members: Predictors evaluated in one pass.
        width: Outputs of the last layer.
        dropouts: Share of each layer's outputs that training leaves out, one a layer.
        prior_logit: Where the output starts: the log odds of the training rows.
    """

    def __init__(
        self,
        inputs: InputLayer,
        layers: Iterable[nn.Module],
        *,
        n_members: int,
        width: int,
        dropouts: Iterable[float],
        prior_logit: float,
    ) -> None:
        super().__init__()
        self.n_members = n_members
        self.inputs = inputs
        self.layers = nn.ModuleList(layers)
        self.dropouts = nn.ModuleList(ByteDropout(share) for share in dropouts)
        self.output = MemberLinear(n_members, width, 1)
        nn.init.constant_(self.output.bias, prior_logit)

    def embed(self, inputs: Tensor, codes: Tensor) -> Tensor:
        """Return the last hidden layer, ``(n_members, n_rows, width)``."""
        first, *others = self.dropouts
        hidden: Tensor = first(torch.relu(self.first_layer(inputs, codes)))
        for layer, dropout in zip(self.layers[1:], others, strict=True):
            hidden = dropout(torch.relu(layer(hidden)))
        return hidden

    def first_layer(self, inputs: Tensor, codes: Tensor) -> Tensor:
        """Return the first layer of the inputs, before it is rectified."""
        product: Tensor = self.layers[0](self.inputs(inputs, codes))
        return product

    def head(self, embeddings: Tensor) -> Tensor:
        """Return each member's logit of the positive class, ``(n_members, n_rows)``."""
        logits: Tensor = self.output(embeddings)
        return logits.squeeze(2)

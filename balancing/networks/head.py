"""The linear head of a trained network, as tau-normalisation needs it."""

from pydantic import BaseModel, ConfigDict

from balancing.networks.layer_stack import LayerStack
from balancing.networks.network import ScoringNetwork


class LinearHead(BaseModel):
    """Weight norm and bias behind each of the logits, z_c = w_c f + b_c.

    Attributes:
        weight_norms: Euclidean norm of w_c per class.
        bias: b_c per class.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    weight_norms: tuple[float, ...]
    bias: tuple[float, ...]


def linear_head(network: ScoringNetwork) -> LinearHead | None:
    """Return the head of a network of one member, ``None`` for several.

    The logits are -l/2 and +l/2 with l = w f + b, so the weights are -w/2 and w/2, of one norm.
    Behind the mean probability of several members there is no linear head.
    """
    body = network.body
    if not isinstance(body, LayerStack) or body.n_members != 1:
        return None
    norm = float(body.output.weight.detach().double().norm()) / 2
    bias = float(body.output.bias.detach()) / 2
    return LinearHead(weight_norms=(norm, norm), bias=(-bias, bias))

"""A scoring network: fixed preprocessing, a trained body of several members, two logits."""

import math
from abc import abstractmethod

import torch
from torch import Tensor, nn

from balancing.networks.numeric import NumericLayer


class MemberBody(nn.Module):
    """The trained part: ``n_members`` predictors evaluated in one pass.

    Shape:
        inputs ``(m, n_rows, d_in)`` and codes ``(m, n_rows, n_categorical)``, ``m`` = 1 (all
        members see the same rows) or ``n_members`` (each its own) -> ``(n_members, n_rows)``.
    """

    n_members: int
    has_own_batches: bool

    @abstractmethod
    def embed(self, inputs: Tensor, codes: Tensor) -> Tensor:
        """Return what the head sees, ``(n_members, n_rows, width)``."""

    @abstractmethod
    def head(self, embeddings: Tensor) -> Tensor:
        """Return each member's logit of the positive class, ``(n_members, n_rows)``."""

    def forward(self, inputs: Tensor, codes: Tensor) -> Tensor:
        """Return each member's logit of the positive class."""
        return self.head(self.embed(inputs, codes))


class ScoringNetwork(nn.Module):
    """Raw features in, two antisymmetric logits out; what is exported.

    Shape:
        numeric ``(n_rows, n_numeric)`` float32, categorical ``(n_rows, n_categorical)`` int64
        -> logits ``(n_rows, 2)`` float32: ``(-l/2, +l/2)`` with ``l`` the logit of the members'
        mean probability.
    """

    def __init__(self, numeric: NumericLayer, body: MemberBody) -> None:
        super().__init__()
        self.numeric = numeric
        self.body = body

    def forward(self, numeric: Tensor, categorical: Tensor | None = None) -> Tensor:
        """Return the two logits of each row."""
        if categorical is None:
            categorical = torch.empty((numeric.shape[0], 0), dtype=torch.int64)
        inputs = self.numeric(numeric)
        members = self.body(inputs.unsqueeze(0), categorical.unsqueeze(0))
        half = mean_probability_logit(members) / 2
        return torch.stack([-half, half], dim=1)


def mean_probability_logit(member_logits: Tensor) -> Tensor:
    """Return the logit of the members' mean probability, without leaving the log scale.

    Shape:
        ``(n_members, n_rows)`` -> ``(n_rows,)``.
    """
    if len(member_logits) == 1:
        return member_logits[0]
    positive = torch.logsumexp(_log_sigmoid(member_logits), dim=0)
    negative = torch.logsumexp(_log_sigmoid(-member_logits), dim=0)
    return positive - negative


def _log_sigmoid(logits: Tensor) -> Tensor:
    """Return log(sigmoid(x)), finite for every finite x.

    PyTorch's own is too, but it is exported as the logarithm of a sigmoid, which is minus infinity
    from about -88 on.
    """
    return logits.clamp(max=0) - torch.log1p(torch.exp(-logits.abs()))


class MemberLinear(nn.Module):
    """One linear layer a member, with PyTorch's own start values, in one batched product.

    Shape:
        ``(m, n_rows, d_in)`` -> ``(n_members, n_rows, d_out)``, ``m`` = 1 or ``n_members``.
    """

    def __init__(self, n_members: int, d_in: int, d_out: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(max(1, d_in))
        self.weight = nn.Parameter(torch.empty(n_members, d_in, d_out).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(n_members, 1, d_out).uniform_(-bound, bound))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the products."""
        return torch.baddbmm(self.bias, inputs.expand(len(self.weight), -1, -1), self.weight)

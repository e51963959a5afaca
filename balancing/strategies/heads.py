"""Heads that are fitted on frozen embeddings, one a member."""

import math

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from balancing.networks.network import MemberLinear
from balancing.sampling import class_sizes

_ROWS_FOR_MOMENTS = 16_384

_LEAST_SPREAD = 1e-6
"""Of an embedding's feature, against which a constant one is not blown up."""


class ScaledHead(nn.Module):
    """A fresh linear head a member, on features of about unit length.

    NOTE[DIFF] EOS's code fits the embeddings as they are, which suits a network with batch
    normalisation. Those of a table have any scale, and a learning rate that suits one diverges
    on the next. So each feature is centred and divided by its spread, both over the two classes
    in equal parts, and by the root of the width. ``unscaled`` takes this back: the network keeps
    a linear head on its own embeddings.

    Args:
        embeddings: Of the real rows, ``(m, n_rows, width)``.
        label: Of the real rows, ``(n_rows,)``.

    Shape:
        ``(m, n, width)`` -> ``(m, n)``.
    """

    def __init__(self, embeddings: Tensor, label: Tensor) -> None:
        super().__init__()
        self.centre, self.spread = balanced_moments(embeddings, label)
        m, _, width = embeddings.shape
        self.spread = self.spread * math.sqrt(width)
        self.linear = MemberLinear(m, width, 1).to(embeddings.device)
        nn.init.constant_(self.linear.bias, log_odds(label))

    def forward(self, embeddings: Tensor) -> Tensor:
        """Return the logits."""
        weight, bias = self.unscaled()
        return torch.baddbmm(bias, embeddings, weight).squeeze(2)

    def unscaled(self) -> tuple[Tensor, Tensor]:
        """Return weight ``(m, width, 1)`` and bias ``(m, 1, 1)`` on embeddings as they are."""
        weight = self.linear.weight / self.spread.transpose(1, 2)
        return weight, self.linear.bias - self.centre @ weight


class ClassScales(nn.Module):
    """One factor a class on a frozen head's logits (LWS: Kang et al., arXiv 1910.09217, 4.1).

    Factors ``s0`` and ``s1`` on the logits ``(-l/2, +l/2)`` make ``l (s0 + s1) / 2``: for two
    antisymmetric logits there is one number to learn, a temperature.

    Args:
        typical: Size of a member's logits, ``(m, 1, 1)``: they are divided by it.

    Shape:
        ``(m, n, 1)`` -> ``(m, n)``.
    """

    def __init__(self, typical: Tensor) -> None:
        super().__init__()
        self.typical = typical
        self.scales = Parameter(typical.expand(-1, -1, 2).clone())

    def forward(self, logits: Tensor) -> Tensor:
        """Return the scaled logits."""
        return (logits * self.factor()).squeeze(2)

    def factor(self) -> Tensor:
        """Return what each member's logits are multiplied by, ``(m, 1, 1)``."""
        return self.scales.mean(dim=2, keepdim=True) / self.typical


@torch.no_grad()
def balanced_moments(values: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each feature, the classes weighing the same.

    A scale need not be exact: they are those of the first 16,384 rows of each class.

    Shape:
        ``(m, n_rows, width)``, ``(n_rows,)`` -> ``(m, 1, width)`` twice.
    """
    parts = [
        values[:, torch.nonzero(label == value).flatten()[:_ROWS_FOR_MOMENTS]] for value in (0, 1)
    ]
    mean = torch.stack([part.mean(dim=1, keepdim=True) for part in parts]).mean(dim=0)
    squares = [(part - mean).square().mean(dim=1, keepdim=True) for part in parts]
    return mean, torch.stack(squares).mean(dim=0).sqrt().clamp(min=_LEAST_SPREAD)


def log_odds(label: Tensor) -> float:
    """Return the log odds of a positive among rows of both classes."""
    negatives, positives = class_sizes(label)
    return math.log(positives / negatives)

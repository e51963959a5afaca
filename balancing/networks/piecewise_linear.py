"""Piecewise-linear embeddings of numeric inputs (Gorishniy et al., arXiv 2203.05556).

NOTE[DIFF]: the outermost bins are clipped like the inner ones, and the bins are laid on
standardised values instead of quantile-transformed ones: the bin edges are quantiles anyway.
"""

import math

import numpy as np
import torch
from torch import Tensor, nn

from balancing.preprocessing import Float64Array


class PiecewiseLinearEmbedding(nn.Module):
    """Encode each value by how far it fills each of its column's bins, then mix the bins.

    Args:
        edges: Bin edges a column; an empty one makes the column a constant zero.
        d_extra: Inputs behind the numeric columns (indicators) that pass through unchanged.
        d_embedding: Size of a column's embedding.
        n_members: Independent copies of the mixing weights; 1 shares them.

    Shape:
        ``(m, n_rows, n_columns + d_extra)`` -> ``(m, n_rows, n_columns * d_embedding + d_extra)``,
        with ``m`` = 1 or ``n_members``.
    """

    offset: Tensor
    inverse_width: Tensor

    def __init__(
        self, edges: list[Float64Array], *, d_extra: int, d_embedding: int, n_members: int
    ) -> None:
        super().__init__()
        left, inverse_width = _bins(edges)
        self.register_buffer("offset", -left * inverse_width)
        self.register_buffer("inverse_width", inverse_width)
        self.n_columns, n_bins = left.shape
        bound = 1 / math.sqrt(n_bins)
        weight = torch.empty(n_members, self.n_columns, n_bins, d_embedding)
        self.weight = nn.Parameter(weight.uniform_(-bound, bound))
        self.d_columns = self.n_columns * d_embedding
        self.d_out = self.d_columns + d_extra

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the embedded columns side by side, then the inputs that pass through."""
        filled = self.fill(inputs).view(*inputs.shape[:2], *self.inverse_width.shape)
        # (m, n, c, b) x (m, c, b, d): one small matrix a column.
        mixed = torch.matmul(filled.transpose(1, 2), self.weight).transpose(1, 2)
        return torch.cat(
            [mixed.flatten(2), inputs[..., self.n_columns :].expand(*mixed.shape[:2], -1)], 2
        )

    def fill(self, inputs: Tensor) -> Tensor:
        """Return how far each bin of each column is filled, from 0 to 1.

        Shape:
            ``(m, n_rows, n_columns + d_extra)`` -> ``(m, n_rows, n_columns * n_bins)``
        """
        value = inputs[..., : self.n_columns].unsqueeze(-1)
        # In place: the filled bins are by far the largest thing that a batch writes.
        return torch.addcmul(self.offset, value, self.inverse_width).clamp_(0, 1).flatten(2)

    def through(self, weight: Tensor) -> Tensor:
        """Return the weights of a linear layer behind the embedding, as the bins see them.

        Shape:
            ``(n_members, n_columns * d_embedding, width)`` -> ``(n_members, n_columns * n_bins,
            width)``
        """
        by_column = weight.view(len(weight), self.n_columns, -1, weight.shape[2])
        return torch.matmul(self.weight, by_column).flatten(1, 2)


def _bins(edges: list[Float64Array]) -> tuple[Tensor, Tensor]:
    n_bins = max((len(column) - 1 for column in edges), default=1)
    left = np.zeros((len(edges), max(n_bins, 1)))
    inverse_width = np.zeros_like(left)  # a padding bin is never filled
    for row, column in enumerate(edges):
        if len(column) > 1:
            left[row, : len(column) - 1] = column[:-1]
            inverse_width[row, : len(column) - 1] = 1 / np.diff(column)
    return torch.from_numpy(left).float(), torch.from_numpy(inverse_width).float()

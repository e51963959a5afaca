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

    left: Tensor
    inverse_width: Tensor

    def __init__(
        self, edges: list[Float64Array], *, d_extra: int, d_embedding: int, n_members: int
    ) -> None:
        super().__init__()
        left, inverse_width = _bins(edges)
        self.register_buffer("left", left)
        self.register_buffer("inverse_width", inverse_width)
        n_columns, n_bins = left.shape
        bound = 1 / math.sqrt(n_bins)
        weight = torch.empty(n_members, n_columns, n_bins, d_embedding).uniform_(-bound, bound)
        self.weight = nn.Parameter(weight)
        self.d_out = n_columns * d_embedding + d_extra

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the embedded columns side by side, then the inputs that pass through."""
        n_columns = self.left.shape[0]
        value = inputs[..., :n_columns].unsqueeze(-1)
        filled = ((value - self.left) * self.inverse_width).clamp(0, 1)
        # (m, n, c, b) x (m, c, b, d): one small matrix a column.
        mixed = torch.matmul(filled.transpose(1, 2), self.weight).transpose(1, 2)
        return torch.cat(
            [mixed.flatten(2), inputs[..., n_columns:].expand(*mixed.shape[:2], -1)], 2
        )


def _bins(edges: list[Float64Array]) -> tuple[Tensor, Tensor]:
    n_bins = max((len(column) - 1 for column in edges), default=1)
    left = np.zeros((len(edges), max(n_bins, 1)))
    inverse_width = np.zeros_like(left)  # a padding bin is never filled
    for row, column in enumerate(edges):
        if len(column) > 1:
            left[row, : len(column) - 1] = column[:-1]
            inverse_width[row, : len(column) - 1] = 1 / np.diff(column)
    return torch.from_numpy(left).float(), torch.from_numpy(inverse_width).float()

"""Where numeric and categorical inputs meet, as one float vector a row."""

import torch
from torch import Tensor, nn

from balancing.networks.categories import CategoryLayer
from balancing.networks.piecewise_linear import PiecewiseLinearEmbedding


class InputLayer(nn.Module):
    """Numeric inputs (embedded or not) beside the vectors of the categories.

    Args:
        d_numeric: Inputs that the numeric layer passes on.
        embedding: Piecewise-linear embedding, or ``None`` to use the numbers themselves.
        categories: Category tables, or ``None`` without categorical columns.

    Shape:
        ``(m, n_rows, d_numeric)`` and codes ``(m, n_rows, n_categorical)`` ->
        ``(m', n_rows, d_out)``, ``m'`` = 1 or the number of members.
    """

    def __init__(
        self,
        d_numeric: int,
        *,
        embedding: PiecewiseLinearEmbedding | None,
        categories: CategoryLayer | None,
    ) -> None:
        super().__init__()
        self.embedding = embedding
        self.categories = categories
        self.d_out = d_numeric if embedding is None else embedding.d_out
        self.d_out += 0 if categories is None else categories.d_out

    def forward(self, inputs: Tensor, codes: Tensor) -> Tensor:
        """Return the body's first hidden input."""
        numeric = inputs if self.embedding is None else self.embedding(inputs)
        if self.categories is None:
            return numeric
        vectors = self.categories(codes)
        n_members = max(len(numeric), len(vectors))
        return torch.cat(
            [numeric.expand(n_members, -1, -1), vectors.expand(n_members, -1, -1)], dim=2
        )

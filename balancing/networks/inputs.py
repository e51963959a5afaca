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
        return self._beside(numeric, codes)

    def product(self, inputs: Tensor, codes: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Return what a linear layer makes of the body's first hidden input.

        Embedding and layer are both linear in how far the bins are filled. So the weights are
        multiplied with each other, once a batch, in place of the rows with both of them: a third
        of the time, as no embedding of the rows is written to memory or read back.

        Shape:
            ``weight`` ``(n_members, d_out of this layer, width)`` and ``bias``
            ``(n_members, 1, width)`` -> ``(n_members, n_rows, width)``
        """
        if self.embedding is None:
            return torch.baddbmm(bias, self(inputs, codes).expand(len(weight), -1, -1), weight)
        embedding = self.embedding
        columns, rest = weight[:, : embedding.d_columns], weight[:, embedding.d_columns :]
        filled = embedding.fill(inputs).expand(len(weight), -1, -1)
        product = torch.baddbmm(bias, filled, embedding.through(columns))
        if self.d_out == embedding.d_columns:
            return product
        others = self._beside(inputs[..., embedding.n_columns :], codes)
        return torch.baddbmm(product, others.expand(len(weight), -1, -1), rest)

    def _beside(self, numeric: Tensor, codes: Tensor) -> Tensor:
        if self.categories is None:
            return numeric
        vectors = self.categories(codes)
        n_members = max(len(numeric), len(vectors))
        return torch.cat(
            [numeric.expand(n_members, -1, -1), vectors.expand(n_members, -1, -1)], dim=2
        )

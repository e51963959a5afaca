"""Categorical codes as float inputs: one-hot for small columns, embeddings for large ones.

A code that no training row had (the unknown bucket, most often) has no trained weight. It
stands for the average training row: its one-hot vector holds the shares of the known codes.
"""

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from balancing.preprocessing import Float64Array


class CategoryConfig(BaseModel):
    """How categorical columns enter the network."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_one_hot: int = Field(
        default=32, ge=0, description="Columns with at most so many codes are one-hot encoded."
    )
    d_embedding: int = Field(default=8, ge=1, description="Size of the others' embeddings.")


class CategoryLayer(nn.Module):
    """Look each code up in a table: a fixed one (one-hot) or a trained one (embedding).

    Args:
        shares: Share of training rows with each code, a column.
        config: Where one-hot ends and embeddings begin.
        n_members: Independent copies of the embeddings; 1 shares them.

    Shape:
        codes ``(m, n_rows, n_categorical)`` int64 -> ``(m', n_rows, d_out)`` float32, where
        ``m'`` is ``n_members`` if there are embeddings, else ``m``.
    """

    def __init__(
        self, shares: list[Float64Array], config: CategoryConfig, *, n_members: int
    ) -> None:
        super().__init__()
        self.tables = nn.ModuleList(
            _OneHot(share)
            if len(share) <= config.max_one_hot
            else _Embedding(share, d_embedding=config.d_embedding, n_members=n_members)
            for share in shares
        )
        self.d_out = sum(
            len(share) if len(share) <= config.max_one_hot else config.d_embedding
            for share in shares
        )

    def forward(self, codes: Tensor) -> Tensor:
        """Return every column's vector, side by side."""
        columns = [table(codes[..., i]) for i, table in enumerate(self.tables)]
        n_members = max(len(column) for column in columns)
        return torch.cat([c.expand(n_members, -1, -1) for c in columns], dim=2)


class _OneHot(nn.Module):
    """One-hot vectors as a float table, which exports, unlike an integer one-hot."""

    table: Tensor

    def __init__(self, share: Float64Array) -> None:
        super().__init__()
        share_row = torch.from_numpy(share).float()
        seen = (share_row > 0).unsqueeze(1)
        self.register_buffer("table", torch.where(seen, torch.eye(len(share)), share_row))

    def forward(self, codes: Tensor) -> Tensor:
        return self.table[codes]


class _Embedding(nn.Module):
    """Trained vectors, one table a member; unseen codes get the mean of the seen ones."""

    share: Tensor

    def __init__(self, share: Float64Array, *, d_embedding: int, n_members: int) -> None:
        super().__init__()
        self.register_buffer("share", torch.from_numpy(share).float().unsqueeze(1))
        self.weight = nn.Parameter(torch.randn(n_members, len(share), d_embedding))

    def forward(self, codes: Tensor) -> Tensor:
        mean = (self.share * self.weight).sum(dim=1, keepdim=True)
        table = torch.where(self.share > 0, self.weight, mean)
        n_members, n_codes, d_embedding = table.shape
        flat = table.reshape(n_members * n_codes, d_embedding)
        offset = torch.arange(n_members, device=codes.device).reshape(-1, 1) * n_codes
        return nn.functional.embedding(codes + offset, flat)

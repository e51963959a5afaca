"""Numeric inputs as the first layer of a network: imputed, scaled, clipped, flagged."""

import torch
from torch import Tensor, nn

from balancing.preprocessing import NumericStatistics


class NumericLayer(nn.Module):
    """Median imputation, standardisation, clipping, and indicators of missing values.

    Holds constants only. A column that had no missing value in training and has one in serving
    gets the median and no indicator, so that no untrained weight ever takes part.

    Shape:
        ``(n_rows, n_numeric)`` -> ``(n_rows, n_numeric + n_indicators)``, float32.
    """

    median: Tensor
    mean: Tensor
    inverse_deviation: Tensor
    low: Tensor
    high: Tensor
    indicator: Tensor

    def __init__(self, statistics: NumericStatistics) -> None:
        super().__init__()
        for name in ("median", "mean", "low", "high"):
            values = torch.from_numpy(getattr(statistics, name)).float()
            self.register_buffer(name, values)
        self.register_buffer(
            "inverse_deviation", torch.from_numpy(1 / statistics.deviation).float()
        )
        self.register_buffer("indicator", torch.from_numpy(statistics.indicator))

    @property
    def d_out(self) -> int:
        """Number of inputs the network sees."""
        return len(self.median) + len(self.indicator)

    def forward(self, numeric: Tensor) -> Tensor:
        """Return the network's view of the numeric columns."""
        missing = torch.isnan(numeric)
        value = torch.where(missing, self.median, numeric)
        value = torch.minimum(torch.maximum(value, self.low), self.high)
        scaled = (value - self.mean) * self.inverse_deviation
        if len(self.indicator) == 0:
            return scaled
        return torch.cat([scaled, missing[:, self.indicator].to(scaled.dtype)], dim=1)

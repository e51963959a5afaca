"""Rows that live on the training device, and the order in which they are visited."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from balancing.dataset import LabelledArrays
from balancing.networks.network import ScoringNetwork


@dataclass(frozen=True, slots=True)
class Batch:
    """What one training step sees.

    Attributes:
        inputs: Preprocessed numeric inputs, float32.
        codes: Category codes, int64.
        label: 0.0 or 1.0, float32.

    Shape:
        ``(m, n_rows, d_in)``, ``(m, n_rows, n_categorical)``, ``(m, n_rows)``; ``m`` is 1 where
        all members see the same rows, else the number of members.
    """

    inputs: Tensor
    codes: Tensor
    label: Tensor


@dataclass(frozen=True, slots=True)
class ResidentRows:
    """A whole data set on the device, preprocessed once.

    Shape:
        inputs ``(n_rows, d_in)`` float32, codes ``(n_rows, n_categorical)`` int64, label
        ``(n_rows,)`` float32.
    """

    inputs: Tensor
    codes: Tensor
    label: Tensor

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.label)

    def batch(self, rows: Tensor) -> Batch:
        """Gather rows; ``rows`` is ``(m, n_rows)`` int64 on the same device."""
        return Batch(self.inputs[rows], self.codes[rows], self.label[rows])

    def whole(self) -> Batch:
        """Return every row, in order, for all members alike."""
        return Batch(self.inputs.unsqueeze(0), self.codes.unsqueeze(0), self.label.unsqueeze(0))


def place_rows(
    arrays: LabelledArrays, network: ScoringNetwork, *, device: torch.device
) -> ResidentRows:
    """Put the rows on the device and through the network's fixed preprocessing."""
    with torch.no_grad():
        inputs = network.numeric(torch.from_numpy(arrays.numeric).to(device))
    label = torch.from_numpy(arrays.label).to(device, torch.float32)
    return ResidentRows(inputs, torch.from_numpy(arrays.categorical).to(device), label)


class ShuffledBatches:
    """Every row once an epoch, in a fresh random order; nearly equal batches.

    Args:
        n_rows: Rows of the data set.
        batch_size: Most rows a batch; the last batch is never a small rest.
        n_orders: Independent orders, one a member; 1 where all members see the same rows.
        seed: Fixes every order.
        device: Where the indices are drawn, so that nothing crosses to the device.
    """

    def __init__(
        self, n_rows: int, *, batch_size: int, n_orders: int, seed: int, device: torch.device
    ) -> None:
        self.n_rows = n_rows
        self.n_orders = n_orders
        self.n_batches = max(1, math.ceil(n_rows / batch_size))
        self.generator = torch.Generator(device).manual_seed(seed)

    def epoch(self) -> Iterator[Tensor]:
        """Yield the row numbers of each batch, ``(n_orders, about batch_size)`` int64."""
        orders = [self._order() for _ in range(self.n_orders)]
        yield from torch.stack(orders).tensor_split(self.n_batches, dim=1)

    def _order(self) -> Tensor:
        device = self.generator.device
        return torch.randperm(self.n_rows, generator=self.generator, device=device)

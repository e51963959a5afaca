"""The moving average of weights that a training keeps beside them."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """Exponential moving average of a module's weights, without the bias of its start.

    With ``decay`` 0 the weights themselves are used and nothing is stored.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.n_updates = 0
        self.parameters: list[Tensor] = list(module.parameters())
        self.averages = [p.detach().clone() for p in self.parameters] if decay else []

    @torch.no_grad()
    def update(self) -> None:
        """Take in the current weights; early on the average forgets faster."""
        if not self.decay:
            return
        self.n_updates += 1
        decay = min(self.decay, self.n_updates / (self.n_updates + 9))
        torch._foreach_lerp_(self.averages, self.parameters, 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Put the average in the module's place for a while."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def load(self) -> None:
        """Leave the average in the module for good."""
        self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for parameter, average in zip(self.parameters, self.averages, strict=False):
            parameter.data, average.data = average.data, parameter.data

"""Epochs over a small sample, made nearly as long as an epoch over the data it was drawn from."""

from collections.abc import Iterator

from torch import Tensor

from balancing.training import Batches

ENOUGH_BATCHES = 64
"""An epoch is made no longer than so many: on a few hundred rows it is soon time to judge."""


class RepeatedBatches:
    """Several epochs of some batches as one.

    The length of training and the patience count in epochs. Over a sample of a few hundred rows
    such an epoch has a few steps only, and training would end before anything is learnt.

    Args:
        batches: An order of batches.
        n_sampled: Rows that one of its epochs visits.
        n_rows: Most rows that an epoch should visit, about, unless one visits more already.
    """

    def __init__(self, batches: Batches, *, n_sampled: int, n_rows: int) -> None:
        self.batches = batches
        wanted = min(n_rows / n_sampled, ENOUGH_BATCHES / batches.n_batches)
        self.n_rounds = max(1, round(wanted))
        self.n_batches = batches.n_batches * self.n_rounds

    def epoch(self) -> Iterator[Tensor]:
        """Yield the row numbers of each batch."""
        for _ in range(self.n_rounds):
            yield from self.batches.epoch()

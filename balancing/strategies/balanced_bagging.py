"""Balanced bagging: every member learns from a balanced bootstrap sample of its own.

After imbalanced-learn's ``BalancedBaggingClassifier`` (Hido, Kashima and Takahashi, "Roughly
balanced bagging for imbalanced data", 2009; Maclin and Opitz, 1997). The sample is drawn once and
visited in ever new orders, so that members stay as different as their samples. A bag
that is much smaller than the data is visited several times an epoch (``repeated_batches``).

NOTE[DIFF]: there a bootstrap sample of all rows is under-sampled, so that the number of positives
varies; here each class is bootstrapped by itself, to the same size for every member.
"""

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from balancing.batches import ResidentRows
from balancing.networks.network import MemberBody
from balancing.repeated_batches import RepeatedBatches
from balancing.sampling import PrevalenceSampling, epoch_sizes
from balancing.strategies.end_to_end import EndToEnd, EndToEndConfig
from balancing.training import Batches


class BalancedBaggingConfig(EndToEndConfig):
    """Bootstrap samples with a target prevalence, one a member.

    Attributes:
        sampling: Prevalence of the samples and, through its kind, their size; by default twice
            the number of positives.
    """

    kind: Literal["balanced_bagging"] = "balanced_bagging"
    sampling: PrevalenceSampling = PrevalenceSampling(kind="undersampled")


class BalancedBagging(EndToEnd):
    """Minimise each member's mean cross-entropy on its own sample."""

    config: BalancedBaggingConfig

    def batches(self, rows: ResidentRows, body: MemberBody, *, seed: int) -> Batches:
        """Return batches of every member's own rows, also where members share weights."""
        sizes = epoch_sizes(self.config.sampling, rows.label)
        bagged = BaggedBatches(
            rows.label,
            sizes=sizes,
            batch_size=self.config.training.batch_size_for(sum(sizes)),
            n_members=body.n_members,
            seed=seed,
        )
        return RepeatedBatches(bagged, n_sampled=sum(sizes), n_rows=rows.n_rows)


class BaggedBatches:
    """Bootstrap samples, drawn once, in a new order each epoch.

    Args:
        label: 0 or 1 of every row, ``(n_rows,)``; both occur.
        sizes: Negative and positive rows a sample.
        batch_size: Most rows a batch.
        n_members: Samples.
        seed: Fixes every draw.

    Attributes:
        bags: Row numbers of each member's sample, ``(n_members, sum of sizes)`` int64.
    """

    def __init__(
        self, label: Tensor, *, sizes: tuple[int, int], batch_size: int, n_members: int, seed: int
    ) -> None:
        self.generator = torch.Generator(label.device).manual_seed(seed)
        self.bags = torch.cat(
            [
                self._drawn(torch.nonzero(label == value).flatten(), (n_members, size))
                for value, size in enumerate(sizes)
            ],
            dim=1,
        )
        self.n_batches = max(1, -(-sum(sizes) // batch_size))

    def epoch(self) -> Iterator[Tensor]:
        """Yield the row numbers of each batch, ``(n_members, about batch_size)`` int64."""
        n_members, size = self.bags.shape
        device = self.bags.device
        order = torch.stack(
            [
                torch.randperm(size, generator=self.generator, device=device)
                for _ in range(n_members)
            ]
        )
        yield from self.bags.gather(1, order).tensor_split(self.n_batches, dim=1)

    def _drawn(self, rows: Tensor, shape: tuple[int, int]) -> Tensor:
        drawn = torch.randint(len(rows), shape, generator=self.generator, device=rows.device)
        return rows[drawn]

"""Which rows a training step sees: as they come, or with more positives than there are.

A sample with another prevalence than the data shifts the log odds that a network learns, by a
number that is known in advance. ``log_odds_shift`` tells it; the training loop adds it to the
network's logits before the loss, so that the network itself always speaks of the data as it is
(Elkan 2001, theorem 2).
"""

import math
from collections.abc import Iterator
from typing import Annotated, Literal, TypeAlias

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from balancing.batches import ShuffledBatches
from balancing.training import Batches


class NaturalSampling(BaseModel):
    """Every row once an epoch."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["natural"] = "natural"


class PrevalenceSampling(BaseModel):
    """Batches with a target prevalence; never less than the data's own.

    Attributes:
        kind: ``undersampled``: all positives once an epoch, and as many negatives as the target
            asks for, drawn anew each epoch. ``oversampled``: all negatives once an epoch, and
            the positives as often as needed. ``balanced_batches``: all negatives once an epoch,
            and the same number of positives in every batch.
        prevalence: Share of positives among the rows of an epoch.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["undersampled", "oversampled", "balanced_batches"]
    prevalence: float = Field(default=0.5, gt=0, lt=1)


SamplingConfig: TypeAlias = Annotated[
    NaturalSampling | PrevalenceSampling, Field(discriminator="kind")
]


def class_sizes(label: Tensor) -> tuple[int, int]:
    """Return how many rows are negative and positive."""
    positives = int(label.sum())
    return len(label) - positives, positives


def log_odds_shift(config: NaturalSampling | PrevalenceSampling, label: Tensor) -> float:
    """Return how much higher the log odds of a positive are in the sample than in the rows."""
    if isinstance(config, NaturalSampling):
        return 0.0
    (negatives, positives), natural = epoch_sizes(config, label), class_sizes(label)
    return math.log(positives / negatives) - math.log(natural[1] / natural[0])


def epoch_sizes(config: PrevalenceSampling, label: Tensor) -> tuple[int, int]:
    """Return how many negatives and positives an epoch visits."""
    negatives, positives = class_sizes(label)
    if config.prevalence <= positives / len(label):
        return negatives, positives
    odds = config.prevalence / (1 - config.prevalence)
    if config.kind == "undersampled":
        return max(1, round(positives / odds)), positives
    return negatives, max(1, round(negatives * odds))


def sample_batches(
    config: NaturalSampling | PrevalenceSampling,
    label: Tensor,
    *,
    batch_size: int,
    n_orders: int,
    seed: int,
) -> Batches:
    """Return the batches of an epoch.

    Args:
        config: What to sample.
        label: 0 or 1 of every row, ``(n_rows,)``, on the device of the rows.
        batch_size: Most rows a batch.
        n_orders: Independent orders, one a member; 1 where all members see the same rows.
        seed: Fixes every draw.
    """
    if isinstance(config, NaturalSampling):
        return ShuffledBatches(
            len(label), batch_size=batch_size, n_orders=n_orders, seed=seed, device=label.device
        )
    return PrevalenceBatches(config, label, batch_size=batch_size, n_orders=n_orders, seed=seed)


class PrevalenceBatches:
    """Batches with a target prevalence, every member's drawn on its own.

    Args:
        config: What to sample.
        label: 0 or 1 of every row, ``(n_rows,)``; both occur.
        batch_size: Most rows a batch, about.
        n_orders: Independent orders.
        seed: Fixes every draw.
    """

    def __init__(
        self,
        config: PrevalenceSampling,
        label: Tensor,
        *,
        batch_size: int,
        n_orders: int,
        seed: int,
    ) -> None:
        self.n_orders = n_orders
        self.is_stratified = config.kind == "balanced_batches"
        self.rows = tuple(torch.nonzero(label == value).flatten() for value in (0, 1))
        self.sizes = epoch_sizes(config, label)
        self.n_batches = max(1, math.ceil(sum(self.sizes) / batch_size))
        self.generator = torch.Generator(label.device).manual_seed(seed)

    def epoch(self) -> Iterator[Tensor]:
        """Yield the row numbers of each batch, ``(n_orders, about batch_size)`` int64."""
        negatives, positives = (
            torch.stack([self._drawn(rows, size) for _ in range(self.n_orders)])
            for rows, size in zip(self.rows, self.sizes, strict=True)
        )
        if not self.is_stratified:
            yield from self._shuffled(torch.cat([negatives, positives], dim=1))
            return
        # At least one positive a batch: where an epoch has fewer, they come round again.
        short = math.ceil(self.n_batches / positives.shape[1])
        positives = positives.repeat(1, short)[:, : max(self.sizes[1], self.n_batches)]
        for pair in zip(
            negatives.tensor_split(self.n_batches, dim=1),
            positives.tensor_split(self.n_batches, dim=1),
            strict=True,
        ):
            yield torch.cat(pair, dim=1)

    def _drawn(self, rows: Tensor, size: int) -> Tensor:
        """Return ``size`` rows in random order, none more than once oftener than another."""
        rounds = math.ceil(size / len(rows))
        orders = [self._permutation(len(rows)) for _ in range(rounds)]
        return rows[torch.cat(orders)[:size]]

    def _shuffled(self, pool: Tensor) -> tuple[Tensor, ...]:
        orders = torch.stack([self._permutation(pool.shape[1]) for _ in range(self.n_orders)])
        return pool.gather(1, orders).tensor_split(self.n_batches, dim=1)

    def _permutation(self, size: int) -> Tensor:
        return torch.randperm(size, generator=self.generator, device=self.generator.device)

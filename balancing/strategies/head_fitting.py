"""Fitting a head anew on the embeddings of a frozen network: the last phase of EOS, cRT and LWS.

Each member's head is fitted to that member's own embeddings. Rows between rows, as EOS makes
them, are never stored: a batch computes them from where they start, where they lead, and how far.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from balancing.batches import ResidentRows
from balancing.losses import cross_entropies
from balancing.networks.layer_stack import LayerStack
from balancing.networks.network import MemberBody
from balancing.sampling import class_sizes
from balancing.strategies.heads import ScaledHead
from balancing.strategies.strategy import ROWS_AT_ONCE
from balancing.training import TrainingConfig, TrainStep, run_epochs
from balancing.training_trace import TrainingTrace

MOST_EMBEDDING_BYTES = 1 << 30
"""Of the members that are dealt with at once; beyond it they take turns."""


class HeadConfig(BaseModel):
    """How a head is fitted: stochastic gradient descent with momentum, as EOS's code does.

    Attributes:
        n_epochs: Over the rows that the head sees, new ones included. EOS's code has 10 and keeps
            the epoch that is best on the test rows; here 2 reach on creditcard what 10 reach, and
            the average of the last weights is kept.
        batch_size: Most rows a batch; by default a 128th of them, 64 to 2,048.
        learning_rate: Of features scaled as ``ScaledHead`` says.
        momentum: Of the gradient.
        weight_decay: Of the scaled weights.
        warm_up_epochs: Over which the learning rate grows linearly.
        average_decay: Of the moving average of weights, which is what is kept.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_epochs: float = Field(default=2, gt=0)
    batch_size: int | None = Field(default=None, ge=1)
    learning_rate: float = Field(default=2.0, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=1e-5, ge=0)
    warm_up_epochs: float = Field(default=0.25, ge=0)
    average_decay: float = Field(default=0.99, ge=0, lt=1)

    def batch_size_for(self, n_rows: int) -> int:
        """Return the batch size: a head needs some hundred steps, however few the rows."""
        return self.batch_size or min(2048, max(64, n_rows // 128))


@dataclass(frozen=True, slots=True)
class NewRows:
    """Rows of one class on the lines between real rows: ``start + reach (end - start)``.

    Attributes:
        label: Of all of them, 0 or 1.
        start: Row numbers.
        end: Row numbers.
        reach: 0 repeats the start.

    Shape:
        start and end ``(m, n_new)`` int64, reach ``(m, n_new)`` float32.
    """

    label: int
    start: Tensor
    end: Tensor
    reach: Tensor


@dataclass(frozen=True, slots=True)
class HeadRows:
    """What heads are fitted on: embeddings of real rows in random order, and new rows.

    Attributes:
        embeddings: Of the real rows, float32.
        label: Of the real rows, float32.
        new: Rows between them.

    Shape:
        ``(m, n_rows, width)``, ``(n_rows,)``.
    """

    embeddings: Tensor
    label: Tensor
    new: NewRows

    @property
    def sizes(self) -> tuple[int, int]:
        """How many rows are real and new."""
        return len(self.label), self.new.start.shape[1]

    @property
    def log_odds_shift(self) -> float:
        """How much higher the log odds of a positive are with the new rows than without."""
        sizes, n_new = class_sizes(self.label), self.sizes[1]
        return math.log(1 + n_new / sizes[self.new.label]) * (1 if self.new.label else -1)

    def made(self, part: slice) -> Tensor:
        """Return the embeddings of some new rows, ``(m, n, width)``."""
        start, end = self._at(self.new.start[:, part]), self._at(self.new.end[:, part])
        return torch.lerp(start, end, self.new.reach[:, part].unsqueeze(2))

    def _at(self, rows: Tensor) -> Tensor:
        m, n_rows, width = self.embeddings.shape
        offset = torch.arange(m, device=rows.device).unsqueeze(1) * n_rows
        flat = self.embeddings.view(m * n_rows, width)
        return flat.index_select(0, (rows + offset).flatten()).view(m, -1, width)


class SlicedBatches:
    """Every real row and every new row once an epoch, as slices that meet by chance.

    Real rows are in random order and new ones drawn at random, so that slices are as good as
    draws; and a slice is read where it lies, where drawn rows would be copied first.

    Args:
        sizes: Real rows and new rows.
        batch_size: Most rows a batch, about.
        seed: Fixes which slices meet, and when.
    """

    def __init__(self, sizes: tuple[int, int], *, batch_size: int, seed: int) -> None:
        self.sizes = sizes
        self.n_batches = min(sizes[0], math.ceil(sum(sizes) / batch_size))
        self.generator = torch.Generator().manual_seed(seed)

    def epoch(self) -> Iterator[Tensor]:
        """Yield where a batch's real and its new rows begin and end, ``(4,)`` int64 on the CPU."""
        orders = [torch.randperm(self.n_batches, generator=self.generator) for _ in self.sizes]
        ends = [
            torch.stack([order * size // self.n_batches, (order + 1) * size // self.n_batches])
            for order, size in zip(orders, self.sizes, strict=True)
        ]
        yield from torch.cat(ends).T


def member_groups(n_members: int, *, n_rows: int, width: int) -> list[slice]:
    """Return the members that are dealt with at once, so that their embeddings fit in memory."""
    size = max(1, MOST_EMBEDDING_BYTES // (4 * n_rows * width))
    return [slice(i, min(i + size, n_members)) for i in range(0, n_members, size)]


@torch.no_grad()
def embeddings_of(body: MemberBody, rows: ResidentRows, members: slice) -> Tensor:
    """Return what the heads of some members see, in evaluation mode.

    Shape:
        ``(m, n_rows, width)`` float32.
    """
    body.eval()
    kept: Tensor | None = None
    for start in range(0, rows.n_rows, ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        found = body.embed(rows.inputs[part].unsqueeze(0), rows.codes[part].unsqueeze(0))[members]
        if kept is None:
            kept = found.new_empty((len(found), rows.n_rows, found.shape[2]))
        kept[:, part] = found
    assert kept is not None
    return kept


def fit_head(head: nn.Module, rows: HeadRows, config: HeadConfig, *, seed: int) -> TrainingTrace:
    """Fit a head in place, so that its logits speak of the real rows as they are.

    New rows shift the odds by a known number, which is added between head and loss.

    Args:
        head: ``(m, n, width)`` -> logits ``(m, n)``.
        rows: Embeddings, labels and new rows.
        config: How long and how fast.
        seed: Fixes the order of the rows.
    """
    return run_epochs(
        head,
        SlicedBatches(rows.sizes, batch_size=config.batch_size_for(sum(rows.sizes)), seed=seed),
        _step(head, rows, config),
        config=TrainingConfig(average_decay=config.average_decay),
        n_epochs=config.n_epochs,
    )


def fit_fresh_head(
    body: LayerStack, rows: HeadRows, members: slice, config: HeadConfig, *, seed: int
) -> None:
    """Fit fresh linear heads for some members and put them on the body; see ``fit_head``."""
    head = ScaledHead(rows.embeddings, rows.label)
    fit_head(head, rows, config, seed=seed)
    with torch.no_grad():
        weight, bias = head.unscaled()
        body.output.weight[members] = weight
        body.output.bias[members] = bias


def _step(head: nn.Module, rows: HeadRows, config: HeadConfig) -> TrainStep:
    optimizer = torch.optim.SGD(
        head.parameters(),
        lr=config.learning_rate,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        fused=True,
    )
    shift = rows.log_odds_shift

    def step(ends: Tensor, epochs_done: float) -> Tensor:
        real_from, real_to, new_from, new_to = ends.tolist()
        warmth = min(1.0, (epochs_done + 0.01) / max(config.warm_up_epochs, 0.01))
        optimizer.param_groups[0]["lr"] = config.learning_rate * warmth
        real = head(rows.embeddings[:, real_from:real_to])
        made = head(rows.made(slice(new_from, new_to)))
        label = rows.label[real_from:real_to]
        label = torch.cat([label, label.new_full((made.shape[1],), rows.new.label)])
        logits = torch.cat([real, made], dim=1) + shift
        # The members' losses are added, not averaged: each takes the step it would take alone.
        losses = cross_entropies(logits, label.expand_as(logits)).mean(dim=1)
        optimizer.zero_grad()
        losses.sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return losses.detach().mean()

    return step

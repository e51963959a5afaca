"""MetaBalance (Bansal et al., arXiv 2106.09643): a step on one sample, judged on another.

Each step moves a copy of the weights down the loss of an inner batch and asks how the loss of an
outer batch, at the moved weights, would change with the weights that it started from. The two
samples may have different prevalence: so neither memorises its few positives unpunished.

The order of the gradient. The authors' tabular code writes the moved weights into the
parameters, which cuts the graph: its gradient is of first order, that of the outer loss at the
moved weights. ``second_order`` differentiates through the inner steps as well.
"""

from collections.abc import Iterator, Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.func import functional_call

from balancing.batches import Batch, ResidentRows
from balancing.losses import RowLosses, shifted
from balancing.networks.network import MemberBody
from balancing.sampling import (
    NaturalSampling,
    SamplingConfig,
    log_odds_shift,
    sample_batches,
)
from balancing.strategies.end_to_end import EndToEnd, EndToEndConfig, n_orders
from balancing.training import Batches, TrainStep

Weights = Mapping[str, Tensor]

_INNER_SEED = 1 << 20
"""Added to the seed of the inner batches, so that they are not those of the outer loop."""


class MetaBalanceConfig(EndToEndConfig):
    """Meta-learning with differently balanced loops.

    Attributes:
        sampling: Rows of the outer loss; its batches make the epoch.
        inner_sampling: Rows of the inner steps.
        inner_batch_size: Most rows an inner batch; by default as many as an outer one.
        inner_learning_rate: Of the plain gradient steps in between; 0 is plain training on the
            outer sample.
        n_inner_steps: Gradient steps before the outer loss is taken.
        inner_loss_weight: Share of the inner loss that is added to the outer one (0.01 in the
            authors' tabular code, none in the one for images).
        second_order: Differentiate through the inner steps.
    """

    kind: Literal["metabalance"] = "metabalance"
    inner_sampling: SamplingConfig = NaturalSampling()
    inner_batch_size: int | None = Field(default=None, ge=1)
    inner_learning_rate: float = Field(default=0.01, ge=0)
    n_inner_steps: int = Field(default=1, ge=1)
    inner_loss_weight: float = Field(default=0.01, ge=0)
    second_order: bool = False


class MetaBalance(EndToEnd):
    """Minimise the outer loss at weights that inner steps have moved."""

    config: MetaBalanceConfig

    def step(self, rows: ResidentRows, body: MemberBody, *, seed: int) -> TrainStep:
        """Return what one outer batch does to the weights."""
        config = self.config
        batch_size = config.inner_batch_size or config.training.batch_size_for(rows.n_rows)
        inner = endless(
            sample_batches(
                config.inner_sampling,
                rows.label,
                batch_size=batch_size,
                n_orders=n_orders(body),
                seed=seed + _INNER_SEED,
            )
        )
        inner_losses = shifted(self.losses(rows), log_odds_shift(config.inner_sampling, rows.label))
        objective, update = self.objective(rows), self.update(body)

        def step(row_numbers: Tensor, epochs_done: float) -> Tensor:
            batches = [rows.batch(next(inner)) for _ in range(config.n_inner_steps)]
            moved, gradient = inner_steps(
                body,
                batches,
                inner_losses,
                learning_rate=config.inner_learning_rate,
                second_order=config.second_order,
            )
            outer = mean_loss(body, moved, rows.batch(row_numbers), objective(epochs_done))
            # The inner loss enters as the line that touches it: it has the same gradient, which
            # is known already, and a second pass back through the inner batch is saved.
            update(outer + config.inner_loss_weight * along(body, gradient))
            return outer.detach()

        return step


def inner_steps(
    body: MemberBody,
    batches: list[Batch],
    losses: RowLosses,
    *,
    learning_rate: float,
    second_order: bool,
) -> tuple[Weights, Weights]:
    """Return weights moved by one gradient step a batch, and the first mean loss's gradient.

    The moved weights depend on the body's, with or without the gradient's own dependence on them.
    """
    weights: Weights = dict(body.named_parameters())
    # Members with weights of their own each take a step of their own loss, not of its mean.
    n_losses = body.n_members if body.has_own_batches else 1
    first: Weights = {}
    for batch in batches:
        loss = mean_loss(body, weights, batch, losses)
        gradients = torch.autograd.grad(loss, list(weights.values()), create_graph=second_order)
        named = dict(zip(weights, gradients, strict=True))
        first = first or {name: gradient.detach() for name, gradient in named.items()}
        weights = {
            name: torch.sub(weight, named[name], alpha=learning_rate * n_losses)
            for name, weight in weights.items()
        }
    return weights, first


def along(body: MemberBody, gradient: Weights) -> Tensor:
    """Return a function of the weights, linear and a scalar, that has this gradient."""
    return torch.stack(
        [(parameter * gradient[name]).sum() for name, parameter in body.named_parameters()]
    ).sum()


def mean_loss(body: MemberBody, weights: Weights, batch: Batch, losses: RowLosses) -> Tensor:
    """Return the mean loss of the members with these weights in place of their own."""
    logits = functional_call(body, dict(weights), (batch.inputs, batch.codes))
    return losses(logits, batch.label.expand_as(logits)).mean()


def endless(batches: Batches) -> Iterator[Tensor]:
    """Yield batches epoch after epoch."""
    while True:
        yield from batches.epoch()

"""Asymmetric sharpness-aware minimisation and label smoothing by class.

Both from "Simplifying Neural Network Training Under Class Imbalance" (Shwartz-Ziv et al., arXiv
2312.02517), whose other settings (smaller batches, smaller networks) are those of every strategy.

SAM-A looks for weights in whose neighbourhood the loss stays low: a step first climbs ``rho g /
|g|``, with g the gradient of losses weighted by ``N_max / N_c``, and then descends by the gradient
found there of the losses without weights. The rare class decides where the neighbourhood is
searched, not what is minimised.

What is minimised is the loss after the ascent, though, which lowers the positives' logits; before
it, where the kept weights stand, the probabilities of positives come out somewhat high. Smoothing
holds them off 0 and 1. Neither is a constant shift of the odds: the calibrator has to restore them.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from balancing.batches import Batch, ResidentRows
from balancing.losses import RowLosses, cross_entropies, weighted
from balancing.networks.network import MemberBody
from balancing.sampling import class_sizes
from balancing.strategies.end_to_end import EndToEnd, EndToEndConfig
from balancing.strategies.metabalance import mean_loss
from balancing.training import TrainStep

# The authors' own: a batch that has nothing to teach moves nothing.
_SHORTEST_GRADIENT = 1e-12


class LabelSmoothing(BaseModel):
    """Share of a row's label that is spread evenly over both classes, by the row's class."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    negative: float = Field(default=0.0, ge=0, lt=1)
    positive: float = Field(default=0.0, ge=0, lt=1)


class SamAConfig(EndToEndConfig):
    """Sharpness-aware training.

    Attributes:
        rho: Length of the ascent; 0 is plain training.
        smoothing: Of the labels, in both passes.
    """

    kind: Literal["sam_a"] = "sam_a"
    rho: float = Field(default=0.05, ge=0)
    smoothing: LabelSmoothing = LabelSmoothing()


class SamA(EndToEnd):
    """Descend by the gradient found at the worst weights nearby, worst for the rare class."""

    config: SamAConfig

    def losses(self, rows: ResidentRows) -> RowLosses:  # noqa: ARG002
        """Return cross-entropies of smoothed labels."""
        smoothing = self.config.smoothing
        return smoothed(cross_entropies, smoothing.negative, smoothing.positive)

    def step(self, rows: ResidentRows, body: MemberBody, *, seed: int) -> TrainStep:
        """Return the two passes of a step; without an ascent, the plain one."""
        if not self.config.rho:
            return super().step(rows, body, seed=seed)
        sizes = class_sizes(rows.label)
        negative, positive = (max(sizes) / size for size in sizes)
        objective, update = self.objective(rows), self.update(body)

        def step(row_numbers: Tensor, epochs_done: float) -> Tensor:
            batch, losses = rows.batch(row_numbers), objective(epochs_done)
            ascent = weighted(losses, negative, positive)
            moved = climbed(body, batch, ascent, rho=self.config.rho)
            loss = mean_loss(body, moved, batch, losses)
            update(loss)
            return loss.detach()

        return step


def smoothed(losses: RowLosses, negative: float, positive: float) -> RowLosses:
    """Return losses of labels ``negative / 2`` and ``1 - positive / 2``. Zeros change no bit."""
    if negative == positive == 0:
        return losses
    low, high = negative / 2, 1 - positive / 2
    return lambda logits, label: losses(logits, low + (high - low) * label)


def climbed(
    body: MemberBody, batch: Batch, losses: RowLosses, *, rho: float
) -> Mapping[str, Tensor]:
    """Return the weights moved by ``rho`` up the gradient of a batch's mean loss.

    Members with weights of their own each climb ``rho`` up their own gradient. The moved weights
    depend on the body's with slope 1: their gradient is what descends.
    """
    weights = dict(body.named_parameters())
    gradients = torch.autograd.grad(mean_loss(body, weights, batch, losses), list(weights.values()))
    # Every parameter of members on their own has the members as its first dimension.
    n_groups = body.n_members if body.has_own_batches else 1
    squares = [g.reshape(n_groups, -1).square().sum(dim=1) for g in gradients]
    stretch = rho / (torch.stack(squares).sum(dim=0).sqrt() + _SHORTEST_GRADIENT)
    return {
        name: weight + (stretch.unsqueeze(1) * g.reshape(n_groups, -1)).view_as(weight)
        for (name, weight), g in zip(weights.items(), gradients, strict=True)
    }

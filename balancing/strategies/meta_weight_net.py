"""Meta-Weight-Net (Shu et al., arXiv 1902.07379): a small network learns to weigh rows.

The weight network maps the loss of a row to its weight. Each step (algorithm 1 of the paper)
moves a copy of the weights down the weighted loss, asks how the loss of a small balanced set of
rows, the meta set, would change with the weight network, moves that one, and then takes the real
step down the loss that it weighs anew.

How far the learnt weights shift the odds is known in no closed form: the calibrator restores them.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from balancing.batches import Batch, ResidentRows
from balancing.losses import RowLosses
from balancing.networks.network import MemberBody, MemberLinear
from balancing.sampling import NaturalSampling, sample_batches
from balancing.strategies.end_to_end import EndToEnd, EndToEndConfig, n_orders
from balancing.strategies.metabalance import endless, inner_steps, mean_loss
from balancing.training import TrainStep

logger = logging.getLogger(__name__)

_META_SEED = 1 << 21
"""Added to the seed of the meta batches, so that their draws are not those of the others."""


class MetaWeightNetConfig(EndToEndConfig):
    """Row weights learnt on a small balanced set.

    Attributes:
        meta_share: Share of the positives that make the meta set, with as many negatives. They
            are not learnt from otherwise, unless a class would be left without rows.
        meta_batch_size: Most rows a meta batch.
        virtual_learning_rate: Of the plain gradient step of the copy.
        weight_learning_rate: Of the weight network, by Adam.
        weight_weight_decay: Of the weight network.
        weight_width: Hidden units of the weight network.
    """

    kind: Literal["meta_weight_net"] = "meta_weight_net"
    meta_share: float = Field(default=0.2, gt=0, lt=1)
    meta_batch_size: int = Field(default=100, ge=1)
    virtual_learning_rate: float = Field(default=0.1, ge=0)
    weight_learning_rate: float = Field(default=1e-3, ge=0)
    weight_weight_decay: float = Field(default=1e-4, ge=0)
    weight_width: int = Field(default=100, ge=1)


class WeightNetwork(nn.Module):
    """One weight network a member: 1 input, one rectified hidden layer, a sigmoid.

    Shape:
        losses ``(n_members, n_rows)`` -> weights in (0, 1), ``(n_members, n_rows)``.
    """

    def __init__(self, n_members: int, width: int) -> None:
        super().__init__()
        self.hidden = MemberLinear(n_members, 1, width)
        self.output = MemberLinear(n_members, width, 1)

    def forward(self, losses: Tensor) -> Tensor:
        """Return the weights of rows; losses are taken as given, not differentiated."""
        hidden = torch.relu(self.hidden(losses.detach().unsqueeze(2)))
        weights: Tensor = torch.sigmoid(self.output(hidden))
        return weights.squeeze(2)

    def weighing(self, losses: RowLosses) -> RowLosses:
        """Return losses times the weights that this network gives them now."""

        def weighed(logits: Tensor, label: Tensor) -> Tensor:
            plain = losses(logits, label)
            weights: Tensor = self(plain)
            return weights * plain

        return weighed


@dataclass(frozen=True, slots=True)
class RowsWithMeta(ResidentRows):
    """Rows to learn from, and the meta set beside them."""

    meta: ResidentRows


class MetaWeightNet(EndToEnd):
    """Minimise a loss whose row weights are learnt from a balanced set."""

    config: MetaWeightNetConfig

    def rows(self, rows: ResidentRows, *, seed: int) -> ResidentRows:
        """Return the rows with the meta set taken out."""
        meta = meta_rows(rows.label, share=self.config.meta_share, seed=seed)
        kept = torch.ones_like(rows.label, dtype=torch.bool)
        for value in (0, 1):
            own = meta[rows.label[meta] == value]
            if len(own) < int((rows.label == value).sum()):
                kept[own] = False
            else:
                logger.info("meta rows are learnt from as well", extra={"class": value})
        return RowsWithMeta(
            rows.inputs[kept],
            rows.codes[kept],
            rows.label[kept],
            ResidentRows(rows.inputs[meta], rows.codes[meta], rows.label[meta]),
        )

    def step(self, rows: ResidentRows, body: MemberBody, *, seed: int) -> TrainStep:
        """Return what one batch does to both networks."""
        assert isinstance(rows, RowsWithMeta)
        config, meta = self.config, rows.meta
        weight_network = WeightNetwork(body.n_members, config.weight_width).to(rows.label.device)
        meta_batches = endless(
            sample_batches(
                NaturalSampling(),
                meta.label,
                batch_size=config.meta_batch_size,
                n_orders=n_orders(body),
                seed=seed + _META_SEED,
            )
        )
        learn_weights = self._weight_update(weight_network, body, self.losses(rows))
        objective, update = self.objective(rows), self.update(body)

        def step(row_numbers: Tensor, epochs_done: float) -> Tensor:
            batch, losses = rows.batch(row_numbers), objective(epochs_done)
            learn_weights(batch, losses, meta.batch(next(meta_batches)))
            own_weights = dict(body.named_parameters())
            loss = mean_loss(body, own_weights, batch, weight_network.weighing(losses))
            update(loss)
            return loss.detach()

        return step

    def _weight_update(
        self, weight_network: WeightNetwork, body: MemberBody, meta_losses: RowLosses
    ) -> Callable[[Batch, RowLosses, Batch], None]:
        """Return what a batch, its losses and a meta batch do to the weight network."""
        config = self.config
        parameters = list(weight_network.parameters())
        optimizer = torch.optim.Adam(
            parameters,
            lr=config.weight_learning_rate,
            weight_decay=config.weight_weight_decay,
            fused=True,
        )

        def update(batch: Batch, losses: RowLosses, meta_batch: Batch) -> None:
            meta_loss = loss_after_step(
                body,
                batch,
                weight_network.weighing(losses),
                learning_rate=config.virtual_learning_rate,
                meta_batch=meta_batch,
                meta_losses=meta_losses,
            )
            gradients = torch.autograd.grad(meta_loss, parameters)
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient
            optimizer.step()

        return update


def loss_after_step(
    body: MemberBody,
    batch: Batch,
    weighed: RowLosses,
    *,
    learning_rate: float,
    meta_batch: Batch,
    meta_losses: RowLosses,
) -> Tensor:
    """Return the loss of the meta batch after one step down the weighed losses of a batch.

    It depends on whatever the weighed losses depend on (the paper's equations 3 and 4).
    """
    moved, _ = inner_steps(body, [batch], weighed, learning_rate=learning_rate, second_order=True)
    return mean_loss(body, moved, meta_batch, meta_losses)


def meta_rows(label: Tensor, *, share: float, seed: int) -> Tensor:
    """Return the numbers of a balanced draw: a share of the positives and as many negatives.

    Shape:
        ``(n_rows,)`` -> ``(n_meta,)`` int64.
    """
    generator = torch.Generator(label.device).manual_seed(seed + _META_SEED)
    n_each = max(1, round(share * int(label.sum())))
    drawn = []
    for value in (0, 1):
        own = torch.nonzero(label == value).flatten()
        order = torch.randperm(len(own), generator=generator, device=label.device)
        drawn.append(own[order[: min(n_each, max(1, len(own) - 1))]])
    return torch.cat(drawn)

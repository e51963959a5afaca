"""What all strategies share that train a whole network: the rows, the batches, the step.

A strategy says what is different about it: which losses it minimises (``losses``), how a step
moves the weights (``step``), which rows there are to learn from (``rows``), or which of them a
step sees (``batches``).

The network's own logits always speak of the data as they are. Where a sample or a weight shifts
the odds, the shift is added between network and loss, so there is nothing to undo afterwards.
"""

from collections.abc import Callable
from typing import ClassVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import Parameter
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from balancing.batches import ResidentRows, place_rows
from balancing.dataset import LabelledArrays
from balancing.devices import choose_device, seeded
from balancing.losses import RowLosses, cross_entropies, reweighted, shifted
from balancing.networks.build import NetworkConfig, build_network
from balancing.networks.mlp import MlpConfig
from balancing.networks.network import MemberBody
from balancing.sampling import (
    NaturalSampling,
    SamplingConfig,
    class_sizes,
    log_odds_shift,
    sample_batches,
)
from balancing.strategies.strategy import Device, FittedNetwork, Observer, judge_by
from balancing.training import Batches, OnEpoch, TrainingConfig, TrainStep, run_epochs


class DeferredReweighting(BaseModel):
    """Class weights that come in late (DRW: Cao et al., arXiv 1906.07413, algorithm 1).

    Plain training up to ``start_epoch``, then losses weighted by the effective number of rows of
    each class (Cui et al., arXiv 1901.05555, equation 2).

    Attributes:
        beta: Of the effective number; 0 gives every class the same weight.
        start_epoch: Epochs before the weights come in. The network is not judged before.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    beta: float = Field(default=0.9999, ge=0, lt=1)
    start_epoch: float = Field(default=4.0, ge=0)


class EndToEndConfig(BaseModel):
    """What every strategy has that trains a whole network.

    Attributes:
        network: What is trained.
        training: How its weights are fitted.
        sampling: Which rows a step sees.
        deferred: Class weights that come in late.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: NetworkConfig = MlpConfig()
    training: TrainingConfig = TrainingConfig()
    sampling: SamplingConfig = NaturalSampling()
    deferred: DeferredReweighting | None = None


class EndToEnd:
    """Fits a whole network; subclasses change what they are about."""

    retrains_head: ClassVar[bool] = False

    def __init__(self, config: EndToEndConfig) -> None:
        self.config = config

    def fit(
        self,
        train: LabelledArrays,
        *,
        cardinalities: tuple[int, ...] = (),
        validation: LabelledArrays | None = None,
        n_epochs: float | None = None,
        seed: int = 0,
        device: Device = "auto",
        keep_logits: bool = False,
        on_epoch: OnEpoch | None = None,
        observer: Observer | None = None,
    ) -> FittedNetwork:
        """Fit a network; see ``Strategy.fit``."""
        if validation is not None:
            validation.require_both_classes("validation")
        place = choose_device(device)
        with seeded(seed, device=place):
            network = build_network(self.config.network, train, cardinalities=cardinalities)
            network.to(place).train()
            placed = place_rows(train, network, device=place)
            rows = self.rows(placed, seed=seed)
            judge, observe = None, None
            if validation is not None:
                judged = place_rows(validation, network, device=place)
                judge = judge_by(network, judged)
                observe = observer(network, placed, judged) if observer else None
            trace = run_epochs(
                network.body,
                self.batches(rows, network.body, seed=seed),
                self.step(rows, network.body, seed=seed),
                config=self.config.training,
                judge=judge,
                judge_from=self.judge_from,
                n_epochs=n_epochs,
                keep_logits=keep_logits,
                on_epoch=on_epoch,
                observe=observe,
            )
        return FittedNetwork(network.cpu().eval(), trace)

    @property
    def judge_from(self) -> float:
        """Epochs before the first look: until then what is weighed is not complete."""
        return self.config.deferred.start_epoch if self.config.deferred else 0

    def rows(self, rows: ResidentRows, *, seed: int) -> ResidentRows:  # noqa: ARG002
        """Return the rows to learn from; a strategy that makes new ones adds them here."""
        return rows

    def batches(self, rows: ResidentRows, body: MemberBody, *, seed: int) -> Batches:
        """Return which rows each step sees; they make the epoch."""
        return sample_batches(
            self.config.sampling,
            rows.label,
            batch_size=self.config.training.batch_size_for(rows.n_rows),
            n_orders=n_orders(body),
            seed=seed,
        )

    def losses(self, rows: ResidentRows) -> RowLosses:  # noqa: ARG002
        """Return what a row costs, given the network's logit of it and its label."""
        return cross_entropies

    def step(self, rows: ResidentRows, body: MemberBody, *, seed: int) -> TrainStep:  # noqa: ARG002
        """Return what one batch does to the weights: here one step down the mean loss."""
        objective = self.objective(rows)
        update = self.update(body)

        def step(row_numbers: Tensor, epochs_done: float) -> Tensor:
            batch = rows.batch(row_numbers)
            logits = body(batch.inputs, batch.codes)
            loss = objective(epochs_done)(logits, batch.label.expand_as(logits)).mean()
            update(loss)
            return loss.detach()

        return step

    def objective(self, rows: ResidentRows) -> Callable[[float], RowLosses]:
        """Return the losses at a time in training, in epochs, the sample's shift included."""
        shift = log_odds_shift(self.config.sampling, rows.label)
        early = shifted(self.losses(rows), shift)
        deferred = self.config.deferred
        if deferred is None:
            return lambda _: early
        weights = effective_number_weights(class_sizes(rows.label), deferred.beta)
        late = shifted(reweighted(self.losses(rows), *weights), shift)
        return lambda epochs_done: early if epochs_done < deferred.start_epoch else late

    def update(self, body: MemberBody) -> Callable[[Tensor], None]:
        """Return what takes in one batch's loss and moves the weights once enough are in."""
        config = self.config.training
        parameters = list(body.parameters())
        optimizer = build_optimizer(parameters, config)
        n_taken = 0

        def update(loss: Tensor) -> None:
            nonlocal n_taken
            (loss / config.accumulated_batches).backward()  # type: ignore[no-untyped-call]
            n_taken += 1
            if n_taken < config.accumulated_batches:
                return
            n_taken = 0
            if config.gradient_clip:
                clip_grad_norm_(parameters, config.gradient_clip)
            optimizer.step()
            optimizer.zero_grad()

        return update


def build_optimizer(parameters: list[Parameter], config: TrainingConfig) -> Optimizer:
    """Return the optimizer that a configuration names."""
    if config.optimizer == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=config.learning_rate,
            momentum=0.9,
            nesterov=True,
            weight_decay=config.weight_decay,
            fused=True,
        )
    return torch.optim.AdamW(
        parameters, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )


def n_orders(body: MemberBody) -> int:
    """Return how many orders of rows the members need."""
    return body.n_members if body.has_own_batches else 1


def effective_number_weights(sizes: tuple[int, int], beta: float) -> tuple[float, float]:
    """Return the weight of a negative and of a positive row, their sum 2.

    ``w_c = (1 - beta) / (1 - beta ** n_c)`` (Cui et al., arXiv 1901.05555, equation 2), scaled
    to a sum of the number of classes.
    """
    raw = [(1 - beta) / (1 - beta**size) for size in sizes]
    negative, positive = (2 * weight / sum(raw) for weight in raw)
    return negative, positive

"""Plain training: empirical risk minimisation on the rows as they are."""

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.nn.utils import clip_grad_norm_

from balancing.batches import ResidentRows, ShuffledBatches, place_rows
from balancing.dataset import LabelledArrays
from balancing.networks.build import NetworkConfig, build_network
from balancing.networks.mlp import MlpConfig
from balancing.networks.network import MemberBody
from balancing.strategies.strategy import Device, FittedNetwork, judge_by
from balancing.training import (
    OnEpoch,
    TrainingConfig,
    TrainStep,
    choose_device,
    run_epochs,
    seeded,
)


class ErmConfig(BaseModel):
    """Plain training."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["erm"] = "erm"
    network: NetworkConfig = MlpConfig()
    training: TrainingConfig = TrainingConfig()


class Erm:
    """Minimise the mean cross-entropy of the members, each on its own."""

    def __init__(self, config: ErmConfig) -> None:
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
    ) -> FittedNetwork:
        """Fit a network; see ``Strategy.fit``."""
        if validation is not None:
            validation.require_both_classes("validation")
        place = choose_device(device)
        with seeded(seed, device=place):
            network = build_network(self.config.network, train, cardinalities=cardinalities)
            network.to(place).train()
            rows = place_rows(train, network, device=place)
            judge = None
            if validation is not None:
                judge = judge_by(network, place_rows(validation, network, device=place))
            trace = run_epochs(
                network.body,
                self._batches(rows, network.body, seed=seed),
                self._step(rows, network.body),
                config=self.config.training,
                judge=judge,
                n_epochs=n_epochs,
                keep_logits=keep_logits,
                on_epoch=on_epoch,
            )
        return FittedNetwork(network.cpu().eval(), trace)

    def _batches(self, rows: ResidentRows, body: MemberBody, *, seed: int) -> ShuffledBatches:
        return ShuffledBatches(
            rows.n_rows,
            batch_size=self.config.training.batch_size_for(rows.n_rows),
            n_orders=body.n_members if body.has_own_batches else 1,
            seed=seed,
            device=rows.label.device,
        )

    def _step(self, rows: ResidentRows, body: MemberBody) -> TrainStep:
        config = self.config.training
        parameters = list(body.parameters())
        optimizer = torch.optim.AdamW(
            parameters, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )

        def step(row_numbers: Tensor) -> Tensor:
            batch = rows.batch(row_numbers)
            loss = mean_cross_entropy(body(batch.inputs, batch.codes), batch.label)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            clip_grad_norm_(parameters, config.gradient_clip)
            optimizer.step()
            return loss.detach()

        return step


def mean_cross_entropy(member_logits: Tensor, label: Tensor) -> Tensor:
    """Return the mean of the members' losses, never the loss of their mean.

    Equals the softmax cross-entropy of the antisymmetric logits ``(-l/2, +l/2)``.

    Shape:
        ``(n_members, n_rows)``, label ``(1 or n_members, n_rows)`` -> ``()``.
    """
    return binary_cross_entropy_with_logits(member_logits, label.expand_as(member_logits))

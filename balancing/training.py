"""The training loop: epochs of steps, judged several times an epoch, the best weights kept.

The loop asks for a step, an order of batches and a judge, never which strategy it serves.
"""

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from balancing.training_trace import EpochRecord, Evaluation, Observation, TrainingTrace
from balancing.weight_average import WeightAverage

logger = logging.getLogger(__name__)


class TrainingConfig(BaseModel):
    """How weights are fitted, whatever the strategy."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch_size: int | None = Field(
        default=None, ge=1, description="Most rows a batch; by default a 64th of them, 128 to 1024."
    )
    accumulated_batches: int = Field(
        default=1, ge=1, description="Batches whose mean loss makes one step of the optimizer."
    )
    optimizer: Literal["adamw", "sgd"] = Field(
        default="adamw", description="AdamW, or SGD with Nesterov momentum of 0.9."
    )
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)
    gradient_clip: float = Field(
        default=1.0, ge=0, description="Largest gradient norm; 0 leaves gradients as they are."
    )
    average_decay: float = Field(
        default=0.998, ge=0, lt=1, description="Of the moving average of weights; 0 turns it off."
    )
    max_epochs: int = Field(default=50, ge=1)
    evaluations_per_epoch: int = Field(default=2, ge=1)
    patience: int = Field(default=8, ge=1, description="In evaluations without a better one.")

    def batch_size_for(self, n_rows: int) -> int:
        """Return the batch size: small tables need many steps an epoch, large ones fast ones."""
        return self.batch_size or min(1024, max(128, n_rows // 64))


class Batches(Protocol):
    """An order of batches."""

    n_batches: int

    def epoch(self) -> Iterator[Tensor]:
        """Yield the row numbers of each batch of one epoch."""


TrainStep = Callable[[Tensor, float], Tensor]
"""Row numbers of a batch and epochs done before -> the loss, a scalar left on the device."""

Judge = Callable[[], tuple[float, Tensor]]
"""-> average precision of the validation rows, and their logits ``(n_rows,)``."""

Observe = Callable[[], Mapping[str, float]]
"""-> what there is to be seen of the current weights, by name."""


OnEpoch = Callable[[EpochRecord], None]


def run_epochs(
    weights: nn.Module,
    batches: Batches,
    step: TrainStep,
    *,
    config: TrainingConfig,
    judge: Judge | None = None,
    judge_from: float = 0,
    n_epochs: float | None = None,
    keep_logits: bool = False,
    on_epoch: OnEpoch | None = None,
    observe: Observe | None = None,
) -> TrainingTrace:
    """Train until the judge sees no progress, or for a fixed length, and keep the best weights.

    Args:
        weights: Module whose weights the steps change; it ends with the kept ones.
        batches: Order of the batches.
        step: Changes the weights by one batch.
        config: Length, patience, averaging.
        judge: Judges the current weights; without it ``n_epochs`` must be given.
        judge_from: Epochs before the first look: what is weighed is not complete before.
        n_epochs: Exact length, a fraction within an epoch; the last weights are then kept.
        keep_logits: Keep the judge's logits of every evaluation in the trace.
        on_epoch: Called after every epoch.
        observe: Called with every evaluation, when the weights that it judged are in place.

    Returns:
        The trace of the training.
    """
    if judge is None and n_epochs is None:
        raise ValueError("Training needs validation rows or n_epochs to know when to stop.")
    run = _Run(
        weights, config, batches.n_batches, judge, judge_from, n_epochs, keep_logits, observe
    )
    while not run.is_done:
        for rows in batches.epoch():
            run.after_step(step(rows, run.epochs_done))
            if run.is_done:
                break
        run.after_epoch(on_epoch)
    return run.finish()


@dataclass
class _Run:
    """State of one training: steps counted, evaluations seen, the best weights so far."""

    weights: nn.Module
    config: TrainingConfig
    n_batches: int
    judge: Judge | None
    judge_from: float
    n_epochs: float | None
    keep_logits: bool
    observe: Observe | None = None
    n_steps: int = 0
    since_best: int = 0
    best: Evaluation | None = None
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    losses: list[Tensor] = field(default_factory=list)
    records: list[EpochRecord] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)
    observations: list[Observation] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    processor_started: float = field(default_factory=time.process_time)

    def __post_init__(self) -> None:
        self.average = WeightAverage(self.weights, self.config.average_decay)
        per_epoch = min(self.config.evaluations_per_epoch, self.n_batches)
        marks = {round(self.n_batches * (i + 1) / per_epoch) for i in range(per_epoch)}
        self.evaluation_steps = marks
        length = self.config.max_epochs if self.n_epochs is None else self.n_epochs
        self.last_step = max(1, round(length * self.n_batches))

    @property
    def epochs_done(self) -> float:
        return self.n_steps / self.n_batches

    @property
    def is_done(self) -> bool:
        has_stalled = self.n_epochs is None and self.since_best >= self.config.patience
        return has_stalled or self.n_steps >= self.last_step

    def after_step(self, loss: Tensor) -> None:
        self.n_steps += 1
        self.losses.append(loss)
        self.average.update()
        if self.judge and self._is_time_to_judge:
            self._evaluate(self.judge)

    @property
    def _is_time_to_judge(self) -> bool:
        if self.n_steps == self.last_step:
            return True
        position = (self.n_steps - 1) % self.n_batches + 1
        return position in self.evaluation_steps and self.epochs_done > self.judge_from

    def _evaluate(self, judge: Judge) -> None:
        with self.average.in_place():
            average_precision, logits = judge()
            kept = logits.cpu() if self.keep_logits else None
            epochs = self.epochs_done
            evaluation = Evaluation(epochs, average_precision, kept)
            self.evaluations.append(evaluation)
            if self.observe:
                self.observations.append(Observation(epochs, self.observe()))
            self.since_best += 1
            if self.best is None or average_precision > self.best.average_precision:
                self.best, self.since_best = evaluation, 0
                self.best_weights = _copy_of(self.weights)

    def after_epoch(self, on_epoch: OnEpoch | None) -> None:
        record = EpochRecord(
            epoch=math.ceil(self.n_steps / self.n_batches),
            train_loss=float(torch.stack(self.losses).mean()),
            validation_average_precision=(
                self.evaluations[-1].average_precision if self.evaluations else None
            ),
            best_average_precision=self.best.average_precision if self.best else None,
            seconds_left=self._seconds_left(),
        )
        self.losses.clear()
        self.records.append(record)
        logger.debug("epoch done", extra={"epoch": record.epoch, "train_loss": record.train_loss})
        if on_epoch:
            on_epoch(record)

    def _seconds_left(self) -> float:
        steps_left = float(self.last_step - self.n_steps)
        if self.n_epochs is None:
            patience_left = max(0, self.config.patience - self.since_best)
            steps_left = min(
                steps_left, patience_left * self.n_batches / len(self.evaluation_steps)
            )
        return (time.monotonic() - self.started) / self.n_steps * steps_left

    def finish(self) -> TrainingTrace:
        if self.n_epochs is None:
            self.weights.load_state_dict(self.best_weights)
        else:
            self.average.load()
        kept_epochs = self.best.epochs if self.n_epochs is None and self.best else None
        return TrainingTrace(
            epochs=self.epochs_done if kept_epochs is None else kept_epochs,
            records=tuple(self.records),
            evaluations=tuple(self.evaluations),
            seconds=time.monotonic() - self.started,
            processor_seconds=time.process_time() - self.processor_started,
            observations=tuple(self.observations),
        )


def _copy_of(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


@torch.no_grad()
def average_precision(logits: Tensor, label: Tensor) -> Tensor:
    """Return the average precision, a scalar that stays on the device; ties share a threshold.

    Shape:
        ``(n_rows,)``, ``(n_rows,)`` -> ``()``.
    """
    order = torch.argsort(logits, descending=True, stable=True)
    score, hit = logits[order], label[order].double()
    true_positives = hit.cumsum(0)
    rank = torch.arange(1, len(hit) + 1, device=hit.device, dtype=torch.float64)
    is_last_of_tie = torch.ones_like(score, dtype=torch.bool)
    is_last_of_tie[:-1] = score[1:] != score[:-1]
    recall = (true_positives / true_positives[-1])[is_last_of_tie]
    precision = (true_positives / rank)[is_last_of_tie]
    return (torch.diff(recall, prepend=recall.new_zeros(1)) * precision).sum()

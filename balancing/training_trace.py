"""What is told and kept of a training: progress, looks at the validation rows, the whole."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """Progress after an epoch.

    Attributes:
        epoch: Epochs done, from 1.
        train_loss: Mean loss of the epoch's steps.
        validation_average_precision: At the epoch's end; ``None`` without validation rows.
        best_average_precision: So far; ``None`` without validation rows.
        seconds_left: Until the end if nothing improves any more.
    """

    epoch: int
    train_loss: float
    validation_average_precision: float | None
    best_average_precision: float | None
    seconds_left: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One look at the validation rows.

    Attributes:
        epochs: Epochs trained so far, a fraction within an epoch.
        average_precision: On the validation rows.
        logits: Of the validation rows, ``(n_rows,)`` on the CPU; ``None`` unless kept.
    """

    epochs: float
    average_precision: float
    logits: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Observation:
    """What an observer saw at one evaluation.

    Attributes:
        epochs: Epochs trained so far, a fraction within an epoch.
        values: By name.
    """

    epochs: float
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class TrainingTrace:
    """What happened during training.

    Attributes:
        epochs: Epochs that the kept weights were trained for, a fraction within an epoch.
        records: One an epoch.
        evaluations: In order; empty without validation rows.
        seconds: Wall time.
        processor_seconds: Of all threads of this process, meanwhile.
        observations: One an evaluation; empty without an observer.
        notes: What else a strategy did that a person should know.
    """

    epochs: float
    records: tuple[EpochRecord, ...]
    evaluations: tuple[Evaluation, ...]
    seconds: float
    processor_seconds: float
    observations: tuple[Observation, ...] = ()
    notes: tuple[str, ...] = ()

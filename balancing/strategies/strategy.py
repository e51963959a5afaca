"""What every strategy is: a way to fit a network to labelled rows."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from balancing.batches import ResidentRows, place_rows
from balancing.dataset import LabelledArrays
from balancing.networks.network import ScoringNetwork, mean_probability_logit
from balancing.training import Judge, Observe, OnEpoch, average_precision
from balancing.training_trace import TrainingTrace

Device = Literal["auto", "cpu", "cuda"]

ROWS_AT_ONCE = 65_536

Observer = Callable[[ScoringNetwork, ResidentRows, ResidentRows], Observe]
"""From a network, its training rows and its validation rows to what looks at them."""


@dataclass(frozen=True, slots=True)
class FittedNetwork:
    """A trained network, on the CPU and in evaluation mode, and how it got there."""

    network: ScoringNetwork
    trace: TrainingTrace

    def logits(self, arrays: LabelledArrays) -> NDArray[np.float32]:
        """Return the two logits of each row, ``(n_rows, 2)`` float32."""
        rows = place_rows(arrays, self.network, device=torch.device("cpu"))
        half = positive_logits(self.network, rows).numpy() / 2
        return np.stack([-half, half], axis=1)


class Strategy(Protocol):
    """Fits a network; owns its phases and calls the training loop as often as it needs.

    Attributes:
        retrains_head: Whether the head is fitted anew after the training that the trace tells
            of; the trace's logits are then not those of the network that is returned.
    """

    retrains_head: ClassVar[bool]

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
        """Fit a network.

        Args:
            train: Rows to learn from.
            cardinalities: Codes a categorical column, missing and unknown included.
            validation: Rows that decide when to stop; needs both classes.
            n_epochs: Exact length instead; validation rows are then only watched.
            seed: Fixes the result to the bit, on one machine and thread count.
            device: Where to train.
            keep_logits: Keep the validation logits of every evaluation in the trace.
            on_epoch: Called after every epoch.
            observer: Looks at the network, the training rows and the validation rows with every
                evaluation; needs ``validation``.
        """


@torch.no_grad()
def positive_logits(network: ScoringNetwork, rows: ResidentRows) -> torch.Tensor:
    """Return each row's logit of the mean probability, ``(n_rows,)``, in evaluation mode."""
    network.eval()
    parts = [
        mean_probability_logit(network.body(inputs.unsqueeze(0), codes.unsqueeze(0)))
        for inputs, codes in zip(
            torch.split(rows.inputs, ROWS_AT_ONCE),
            torch.split(rows.codes, ROWS_AT_ONCE),
            strict=True,
        )
    ]
    return torch.cat(parts)


def judge_by(network: ScoringNetwork, rows: ResidentRows) -> Judge:
    """Return a judge: the network's average precision on the rows."""

    def judge() -> tuple[float, torch.Tensor]:
        logits = positive_logits(network, rows)
        network.train()
        return float(average_precision(logits, rows.label)), logits

    return judge

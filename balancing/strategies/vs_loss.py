"""The vector-scaling loss for two classes (VS: Kini et al., arXiv 2103.01550).

``log(1 + exp(iota_y) exp(-Delta_y y f))`` with labels y of -1 and 1, ``Delta_c = (N_c / N_max) **
gamma`` and ``iota_1 = -iota_0 = tau log(N_0 / N_1)``: temperatures that depend on the label, not
on the logit's class. Positives count as learned only at a large multiple of the logit that
suffices for a negative.

The additive part is a known shift of the odds: what the loss calls f is the network's logit less
``tau log(N_1 / N_0)``. So without temperatures (``gamma`` 0) any ``tau`` is plain cross-entropy
to the last bit, and with them ``tau`` says at which logit both classes count alike. No constant
undoes the temperatures: with ``gamma`` above 0 the calibrator has to restore the probabilities.
"""

import math
from collections.abc import Callable
from typing import Literal

from pydantic import Field
from torch import Tensor

from balancing.batches import ResidentRows
from balancing.calibration.temperatures import class_dependent_temperatures
from balancing.losses import RowLosses, cross_entropies
from balancing.sampling import class_sizes
from balancing.strategies.end_to_end import EndToEnd, EndToEndConfig


class VsLossConfig(EndToEndConfig):
    """Training with label-dependent temperatures.

    Attributes:
        gamma: Strength of the temperatures; 0 is plain training.
        tau: Strength of the additive part.
        warm_up_epochs: Plain cross-entropy before the temperatures come in (the "mixed" option
            of the authors' code: 5), which hurt the rare class early in training. The network
            is not judged before.
    """

    kind: Literal["vs_loss"] = "vs_loss"
    gamma: float = Field(default=0.3, ge=0)
    tau: float = Field(default=1.0, ge=0)
    warm_up_epochs: float = Field(default=0.0, ge=0)


class VsLoss(EndToEnd):
    """Minimise the VS loss, after a warm-up if there is one."""

    config: VsLossConfig

    @property
    def judge_from(self) -> float:
        """Epochs before the first look."""
        return max(self.config.warm_up_epochs, super().judge_from)

    def losses(self, rows: ResidentRows) -> RowLosses:
        """Return the VS loss for the class counts of the rows."""
        return vs_losses(class_sizes(rows.label), gamma=self.config.gamma, tau=self.config.tau)

    def objective(self, rows: ResidentRows) -> Callable[[float], RowLosses]:
        """Return plain losses during the warm-up, VS losses after it."""
        plain, scaled = EndToEnd(self.config).objective(rows), super().objective(rows)
        until = self.config.warm_up_epochs
        return lambda epochs_done: (plain if epochs_done < until else scaled)(epochs_done)


def vs_losses(sizes: tuple[int, int], *, gamma: float, tau: float) -> RowLosses:
    """Return the VS loss of the natural logit ``l = f + tau log(N_1 / N_0)``.

    Args:
        sizes: Negative and positive training rows.
        gamma: Strength of the temperatures.
        tau: Strength of the additive part.
    """
    negative, positive = (1 / class_dependent_temperatures(sizes, gamma)).tolist()
    negatives, positives = sizes
    pivot = tau * math.log(positives / negatives)

    def losses(logits: Tensor, label: Tensor) -> Tensor:
        scale = negative + (positive - negative) * label
        return cross_entropies(scale * logits + (1 - scale) * pivot, label)

    return losses

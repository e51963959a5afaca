"""Major feature weakening. EXPERIMENTAL: our own reading of an abstract.

Ye, Zhan and Chao (Procrustean Training for Imbalanced Deep Learning, ICCV 2021, arXiv 2104.01769)
find that networks first under-fit rare classes and then over-fit them, and mix the features of
frequent classes' rows with those of other rows of the batch, so that the frequent classes are not
learned first.

NOTE[DIFF] Which layer, which mixing weights and what becomes of the label is not known to us. Here
the last hidden layer of a row of the larger class becomes ``(1 - weakening) h + weakening h'``, h'
that of a row of either class drawn from the batch, and the row keeps its label. Nothing of this
may be reported as that paper's method.

Rows are scored without mixing, so the logits are further out than those that were trained, by no
known constant: the calibrator has to restore the probabilities.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from balancing.batches import ResidentRows
from balancing.networks.network import MemberBody
from balancing.sampling import class_sizes
from balancing.strategies.end_to_end import EndToEnd, EndToEndConfig
from balancing.training import TrainStep


class MajorFeatureWeakeningConfig(EndToEndConfig):
    """Training with weakened features of the larger class; experimental.

    Attributes:
        weakening: Share of a row's features that comes from another row; 0 is plain training.
    """

    kind: Literal["major_feature_weakening"] = "major_feature_weakening"
    weakening: float = Field(default=0.2, ge=0, lt=1)


class MajorFeatureWeakening(EndToEnd):
    """Minimise the mean cross-entropy of a head that sees mixed features."""

    config: MajorFeatureWeakeningConfig

    def step(self, rows: ResidentRows, body: MemberBody, *, seed: int) -> TrainStep:
        """Return one step down the mean loss of a batch whose larger class is weakened."""
        negatives, positives = class_sizes(rows.label)
        larger = 0.0 if negatives >= positives else 1.0
        # A generator of its own: dropout draws what it would draw without mixing.
        generator = torch.Generator(rows.label.device).manual_seed(seed)
        objective, update = self.objective(rows), self.update(body)

        def step(row_numbers: Tensor, epochs_done: float) -> Tensor:
            batch = rows.batch(row_numbers)
            hidden = body.embed(batch.inputs, batch.codes)
            is_larger = (batch.label == larger).unsqueeze(2)
            mixed = weakened(hidden, is_larger, self.config.weakening, generator=generator)
            logits = body.head(mixed)
            loss = objective(epochs_done)(logits, batch.label.expand_as(logits)).mean()
            update(loss)
            return loss.detach()

        return step


def weakened(
    hidden: Tensor, is_larger: Tensor, weakening: float, *, generator: torch.Generator
) -> Tensor:
    """Return hidden features, those of the larger class mixed with another row's.

    Args:
        hidden: Last hidden layer.
        is_larger: Whether a row is of the larger class.
        weakening: Share that comes from the other row; 0 changes no bit.
        generator: Draws the other rows, on the device of ``hidden``.

    Shape:
        ``(n_members, n_rows, width)``, ``(m, n_rows, 1)`` bool, with m 1 or n_members ->
        ``(n_members, n_rows, width)``.
    """
    others = torch.randperm(hidden.shape[1], generator=generator, device=hidden.device)
    return torch.lerp(hidden, hidden[:, others], weakening * is_larger)

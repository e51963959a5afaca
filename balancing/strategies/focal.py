"""The focal loss (Lin et al., arXiv 1708.02002, equation 5): easy rows count less.

``-alpha_y (1 - p_y) ** gamma log p_y``, with ``p_y`` the probability given to the row's own class.

The class weight shifts the odds by a known number, which is taken out (``losses.reweighted``); the
focus has no constant that undoes it. With ``gamma`` above 0 probabilities are pulled towards a
half, and the calibrator has to restore them.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from balancing.batches import ResidentRows
from balancing.losses import RowLosses, cross_entropies, reweighted
from balancing.strategies.end_to_end import EndToEnd, EndToEndConfig


class FocalConfig(EndToEndConfig):
    """Training with the focal loss.

    Attributes:
        gamma: Focus; 0 is cross-entropy.
        alpha: Weight of a positive, that of a negative being ``1 - alpha``; a half is no weight.
    """

    kind: Literal["focal"] = "focal"
    gamma: float = Field(default=2.0, ge=0)
    alpha: float = Field(default=0.5, gt=0, lt=1)


class Focal(EndToEnd):
    """Minimise the focal loss."""

    config: FocalConfig

    def losses(self, rows: ResidentRows) -> RowLosses:  # noqa: ARG002
        """Return the focal loss, class weights included."""
        # NOTE[DIFF] Twice the paper's weights, so that a half weighs 1: a common factor.
        weights = 2 * (1 - self.config.alpha), 2 * self.config.alpha
        return reweighted(focal_losses(self.config.gamma), *weights)


def focal_losses(gamma: float) -> RowLosses:
    """Return the focal loss without class weights; ``gamma`` 0 changes no bit."""
    if not gamma:
        return cross_entropies

    def losses(logits: Tensor, label: Tensor) -> Tensor:
        # log(1 - p_y) is the loss of the opposite logit, negated; unlike a power of 1 - p_y its
        # gradient stays finite where p_y rounds to 1.
        modulation = torch.exp(-gamma * cross_entropies(-logits, label))
        return modulation * cross_entropies(logits, label)

    return losses

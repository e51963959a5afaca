"""Class-balanced losses (Cui et al., arXiv 1901.05555): weights by effective number of rows.

``(1 - beta) / (1 - beta ** N_c)`` times the cross-entropy or the focal loss of a row of class c,
from the first step on; ``deferred`` brings the same weights in late.

The weights shift the odds by a known number, which is taken out (``losses.reweighted``): the
probabilities need no correction. With a focus they do, see ``focal``.
"""

from typing import Literal

from pydantic import Field

from balancing.batches import ResidentRows
from balancing.losses import RowLosses, reweighted
from balancing.sampling import class_sizes
from balancing.strategies.end_to_end import EndToEnd, EndToEndConfig, effective_number_weights
from balancing.strategies.focal import focal_losses


class ClassBalancedConfig(EndToEndConfig):
    """Training with class weights.

    Attributes:
        beta: Of the effective number; 0 gives every class the same weight.
        focal_gamma: Focus of the losses that are weighted; 0 is cross-entropy.
    """

    kind: Literal["class_balanced"] = "class_balanced"
    beta: float = Field(default=0.999, ge=0, lt=1)
    focal_gamma: float = Field(default=0.0, ge=0)


class ClassBalanced(EndToEnd):
    """Minimise weighted losses."""

    config: ClassBalancedConfig

    def losses(self, rows: ResidentRows) -> RowLosses:
        """Return the losses with the weights of the rows' class counts."""
        weights = effective_number_weights(class_sizes(rows.label), self.config.beta)
        return reweighted(focal_losses(self.config.focal_gamma), *weights)

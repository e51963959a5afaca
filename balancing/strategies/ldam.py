"""Label-distribution-aware margins (LDAM: Cao et al., arXiv 1906.07413).

``CE(s (z - Delta_y onehot(y)), y)`` with ``Delta_c`` in proportion to ``N_c ** -1/4``: a row must
be told from the other class by a margin, the rarer its class the larger. With ``deferred`` class
weights this is the paper's LDAM-DRW.

NOTE[DIFF] The paper's logits are cosines (features and class vectors both of length 1) and s = 30
stretches them. Here they are a plain linear head's, which has its own scale: the network's logit
is ``s (z_1 - z_0)``, so that it starts and stays at the scale of log odds, and ``s`` multiplies the
margins alone. 30 belongs to cosines: on plain logits it asks for margins of up to 15 nats.

No constant undoes a margin, which pushes the logits of the two classes apart: the calibrator has
to restore the probabilities.
"""

from typing import Literal

from pydantic import Field
from torch import Tensor

from balancing.batches import ResidentRows
from balancing.losses import RowLosses, cross_entropies
from balancing.sampling import class_sizes
from balancing.strategies.end_to_end import EndToEnd, EndToEndConfig


class LdamConfig(EndToEndConfig):
    """Training with margins.

    Attributes:
        max_margin: Margin of the rarer class; 0 is plain training.
        scale: Of the margins, in logits.
    """

    kind: Literal["ldam"] = "ldam"
    max_margin: float = Field(default=0.5, ge=0)
    scale: float = Field(default=1.0, gt=0)


class Ldam(EndToEnd):
    """Minimise the cross-entropy of logits less the margin of each row's class."""

    config: LdamConfig

    def losses(self, rows: ResidentRows) -> RowLosses:
        """Return the LDAM loss for the class counts of the rows."""
        margins = class_margins(class_sizes(rows.label), max_margin=self.config.max_margin)
        return ldam_losses(margins, scale=self.config.scale)


def class_margins(sizes: tuple[int, int], *, max_margin: float) -> tuple[float, float]:
    """Return the margin of a negative and of a positive row, the larger one ``max_margin``.

    ``C / N_c ** (1/4)``, with the ``C`` that makes it so.
    """
    negative, positive = (max_margin * (min(sizes) / size) ** 0.25 for size in sizes)
    return negative, positive


def ldam_losses(margins: tuple[float, float], *, scale: float) -> RowLosses:
    """Return cross-entropies of logits moved towards the wrong side by ``scale`` margins.

    Args:
        margins: Of a negative and of a positive row.
        scale: ``s``, of the margins in logits.
    """
    negative, positive = (scale * margin for margin in margins)

    def losses(logits: Tensor, label: Tensor) -> Tensor:
        return cross_entropies(logits + (negative - (negative + positive) * label), label)

    return losses

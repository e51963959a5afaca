"""EOS, expansive over-sampling (Dablain et al., arXiv 2207.06080), in three phases.

The network is trained end to end; new rows of the rare class are made where its head looks, on
the way from rows of the class to their nearest enemies; and a fresh head is fitted on real and
new rows and put on the frozen network.
"""

import logging
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from balancing.networks.layer_stack import LayerStack
from balancing.strategies.expansion import Towards, find_partners, rows_to_add, side_by_side
from balancing.strategies.head_fitting import HeadRows, NewRows, fit_fresh_head
from balancing.strategies.head_retraining import HeadRetraining, HeadRetrainingConfig

logger = logging.getLogger(__name__)


class EosConfig(HeadRetrainingConfig):
    """Expansive over-sampling in embedding space.

    Attributes:
        k: Neighbours among which enemies are looked for.
        r_max: New rows lie up to so far on the way to the enemy, 1 being the enemy itself.
        prevalence: Share of the rarer class once new rows are added; 0.5 is exact balance. Where
            it has as large a share already, none are.
        towards: Enemies, or the class's own rows: SMOTE in embedding space, the ablation.
        replicate_released_shift: Go towards the neighbour one rank nearer than the enemy, as the
            released code does by mistake.
    """

    kind: Literal["eos"] = "eos"
    k: int = Field(default=10, ge=1)
    r_max: float = Field(default=1.0, gt=0, le=1)
    prevalence: float = Field(default=0.5, gt=0, lt=1)
    towards: Towards = "enemies"
    replicate_released_shift: bool = False


class Eos(HeadRetraining):
    """Fit a fresh head on frozen embeddings and new rows between them."""

    config: EosConfig

    def refit_group(
        self, body: LayerStack, embeddings: Tensor, label: Tensor, members: slice, *, seed: int
    ) -> list[str]:
        """Fit the heads of some members in place."""
        new, notes = expand_rare_class(embeddings, label, self.config, seed=seed)
        # NOTE[DIFF] The paper fits the head with the loss of phase 1. Here it is cross-entropy,
        # whatever phase 1 used: the classes are balanced, and the others' logits need calibration.
        rows = HeadRows(embeddings, label, new)
        fit_fresh_head(body, rows, members, self.config.head, seed=seed)
        return notes


def expand_rare_class(
    embeddings: Tensor, label: Tensor, config: EosConfig, *, seed: int
) -> tuple[NewRows, list[str]]:
    """Return the new rows of the rarer class, and how they were made, one line a member.

    Shape:
        ``(m, n_rows, width)`` float32, ``(n_rows,)`` float32.
    """
    value, n_new = rows_to_add(label, prevalence=config.prevalence)
    rare = torch.nonzero(label == value).flatten()
    generator = torch.Generator(label.device).manual_seed(seed)
    drawn, notes = [], []
    for points in embeddings:
        partners = find_partners(
            points,
            label,
            rare,
            k=config.k,
            towards=config.towards,
            replicate_released_shift=config.replicate_released_shift,
        )
        drawn.append(partners.draw(n_new, r_max=config.r_max, label=value, generator=generator))
        notes.append(f"{n_new} rows towards {partners.how}")
        if partners.is_fallback:
            logger.warning("class without enemies", extra={"class": value, "how": partners.how})
    return side_by_side(drawn), notes

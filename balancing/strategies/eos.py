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
from balancing.sampling import NaturalSampling, class_sizes
from balancing.strategies.expansion import Towards, find_partners
from balancing.strategies.head_fitting import HeadRows, Segments, fit_fresh_head
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
        rows, notes = expanded(embeddings, label, self.config, seed=seed)
        # NOTE[DIFF] The paper fits the head with the loss of phase 1. Among balanced rows that is
        # cross-entropy here, whatever phase 1 used: others would leave logits uncalibrated.
        fit_fresh_head(body, rows, members, self.config.head, sampling=NaturalSampling(), seed=seed)
        return notes


def expanded(
    embeddings: Tensor, label: Tensor, config: EosConfig, *, seed: int
) -> tuple[HeadRows, list[str]]:
    """Return real rows with the new ones behind them, and how these were made.

    Shape:
        ``(m, n_rows, width)`` float32, ``(n_rows,)`` float32; one line a member.
    """
    value, n_new = rows_to_add(label, prevalence=config.prevalence)
    if n_new == 0:
        return HeadRows(embeddings, label), ["no row added"] * len(embeddings)
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
        drawn.append(partners.draw(n_new, r_max=config.r_max, generator=generator))
        notes.append(f"{n_new} rows towards {partners.how}")
        if partners.is_fallback:
            logger.warning("class without enemies", extra={"class": value, "how": partners.how})
    segments = Segments(
        torch.cat([one.start for one in drawn]),
        torch.cat([one.end for one in drawn]),
        torch.cat([one.reach for one in drawn]),
    )
    all_labels = torch.cat([label, label.new_full((n_new,), value)])
    return HeadRows(embeddings, all_labels, segments), notes


def rows_to_add(label: Tensor, *, prevalence: float) -> tuple[int, int]:
    """Return the rarer class, 0 or 1, and how many rows it lacks for its target share."""
    sizes = class_sizes(label)
    value = int(sizes[1] <= sizes[0])
    wanted = round(sizes[1 - value] * prevalence / (1 - prevalence))
    return value, max(0, wanted - sizes[value])

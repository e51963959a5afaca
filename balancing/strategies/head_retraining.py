"""Learning the network first and its head again (Kang et al., arXiv 1910.09217).

Any strategy that trains a whole network comes first; then its layers are frozen and the head
alone is fitted on batches with more positives. cRT (section 4.1, "classifier re-training") starts
from a fresh head: it is EOS without new rows. LWS ("learnable weight scaling") keeps the head and
learns one factor a class.
"""

import logging
import time
from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import replace
from typing import Any, ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from balancing.batches import ResidentRows, place_rows
from balancing.dataset import LabelledArrays
from balancing.devices import choose_device, seeded
from balancing.networks.layer_stack import LayerStack
from balancing.strategies.end_to_end import EndToEndConfig
from balancing.strategies.erm import ErmConfig
from balancing.strategies.expansion import repeats, rows_to_add, side_by_side
from balancing.strategies.extractors import ExtractorConfig, build_extractor
from balancing.strategies.head_fitting import (
    HeadConfig,
    HeadRows,
    embeddings_of,
    fit_fresh_head,
    fit_head,
    member_groups,
)
from balancing.strategies.heads import ClassScales, balanced_moments
from balancing.strategies.strategy import Device, FittedNetwork, Observer
from balancing.training import OnEpoch

logger = logging.getLogger(__name__)

_HEAD_SEED = 1 << 21
"""Added to the seed, so that no draw repeats one of the network's own training."""


class HeadRetrainingConfig(BaseModel):
    """What every strategy has that fits the head of a trained network again.

    Attributes:
        extractor: How the network is trained before; any strategy that trains a whole one.
        head: How the head is fitted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    extractor: ExtractorConfig = ErmConfig()
    head: HeadConfig = HeadConfig()

    @model_validator(mode="before")
    @classmethod
    def _settings_of_the_whole_network(cls, value: Any) -> Any:
        """Take ``network`` and the like as the extractor's: one configuration fits all kinds."""
        if not isinstance(value, dict):
            return value
        moved = {key: value[key] for key in EndToEndConfig.model_fields if key in value}
        if not moved:
            return value
        extractor = value.get("extractor", {})
        if not isinstance(extractor, dict):
            return value
        kept = {key: each for key, each in value.items() if key not in moved}
        return {**kept, "extractor": {"kind": "erm", **moved, **extractor}}


class HeadRetraining(ABC):
    """Trains a network, freezes it, fits the heads again; subclasses say on which rows."""

    retrains_head: ClassVar[bool] = True

    def __init__(self, config: HeadRetrainingConfig) -> None:
        self.config = config

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
        """Fit a network, then its heads; see ``Strategy.fit``.

        Lengths, evaluations and progress are those of the network's training. The heads' own
        length is fixed; nothing about them is chosen on validation rows.
        """
        fitted = build_extractor(self.config.extractor).fit(
            train,
            cardinalities=cardinalities,
            validation=validation,
            n_epochs=n_epochs,
            seed=seed,
            device=device,
            keep_logits=keep_logits,
            on_epoch=on_epoch,
            observer=observer,
        )
        started, place = time.monotonic(), choose_device(device)
        processor_started = time.process_time()
        network = fitted.network.to(place)
        with seeded(seed + _HEAD_SEED, device=place):
            body = network.body
            assert isinstance(body, LayerStack)
            rows = place_rows(train, network, device=place)
            notes = self.refit_heads(body, rows, seed=seed + _HEAD_SEED)
        seconds = time.monotonic() - started
        trace = replace(
            fitted.trace,
            seconds=fitted.trace.seconds + seconds,
            processor_seconds=fitted.trace.processor_seconds
            + time.process_time()
            - processor_started,
            notes=(*fitted.trace.notes, *notes, f"heads fitted again in {seconds:.1f} s"),
        )
        return FittedNetwork(network.cpu().eval(), trace)

    def refit_heads(self, body: LayerStack, rows: ResidentRows, *, seed: int) -> tuple[str, ...]:
        """Fit every member's head, as many at once as memory holds; return what is to be told."""
        width = body.output.weight.shape[1]
        # In random order once, so that batches can be slices.
        generator = torch.Generator(rows.label.device).manual_seed(seed)
        order = torch.randperm(rows.n_rows, generator=generator, device=rows.label.device)
        rows = ResidentRows(rows.inputs[order], rows.codes[order], rows.label[order])
        notes: Counter[str] = Counter()
        for members in member_groups(body.n_members, n_rows=rows.n_rows, width=width):
            embeddings = embeddings_of(body, rows, members)
            notes.update(
                self.refit_group(body, embeddings, rows.label, members, seed=seed + members.start)
            )
        return tuple(f"{note} ({n} of {body.n_members} members)" for note, n in notes.items())

    @abstractmethod
    def refit_group(
        self, body: LayerStack, embeddings: Tensor, label: Tensor, members: slice, *, seed: int
    ) -> list[str]:
        """Fit the heads of some members in place; return one line a member, or none."""


class CrtConfig(HeadRetrainingConfig):
    """Classifier re-training: a fresh head, the rarer class repeated until it has its share.

    Attributes:
        prevalence: Share of the rarer class among the rows of an epoch; 0.5 is the paper's
            class-balanced sampling.
    """

    kind: Literal["crt"] = "crt"
    prevalence: float = Field(default=0.5, gt=0, lt=1)


class Crt(HeadRetraining):
    """Fit a fresh head on frozen embeddings, classes balanced by sampling."""

    config: CrtConfig

    def refit_group(
        self, body: LayerStack, embeddings: Tensor, label: Tensor, members: slice, *, seed: int
    ) -> list[str]:
        """Fit the heads of some members in place."""
        rows = with_repeats(embeddings, label, prevalence=self.config.prevalence, seed=seed)
        fit_fresh_head(body, rows, members, self.config.head, seed=seed)
        return []


class LwsConfig(HeadRetrainingConfig):
    """Learnable weight scaling: a factor a class on the trained head.

    For two antisymmetric logits that is a monotone rescaling of each member's logit: one member
    alone is never re-ranked; several may be, as their probabilities are averaged afterwards.

    Attributes:
        prevalence: See ``CrtConfig``.
    """

    kind: Literal["lws"] = "lws"
    prevalence: float = Field(default=0.5, gt=0, lt=1)


class Lws(HeadRetraining):
    """Scale the logits of a frozen network."""

    config: LwsConfig

    def refit_group(
        self, body: LayerStack, embeddings: Tensor, label: Tensor, members: slice, *, seed: int
    ) -> list[str]:
        """Scale the heads of some members in place."""
        weight, bias = body.output.weight[members], body.output.bias[members]
        with torch.no_grad():
            logits = torch.baddbmm(bias, embeddings, weight)
        centre, spread = balanced_moments(logits, label)
        scales = ClassScales((centre.square() + spread.square()).sqrt())
        rows = with_repeats(logits, label, prevalence=self.config.prevalence, seed=seed)
        fit_head(scales, rows, self.config.head, seed=seed)
        with torch.no_grad():
            weight.mul_(scales.factor())
            bias.mul_(scales.factor())
        return []


def with_repeats(embeddings: Tensor, label: Tensor, *, prevalence: float, seed: int) -> HeadRows:
    """Return all rows and as many repeats of the rarer class as it lacks."""
    value, n_new = rows_to_add(label, prevalence=prevalence)
    generator = torch.Generator(label.device).manual_seed(seed)
    partners = repeats(torch.nonzero(label == value).flatten())
    drawn = [partners.draw(n_new, r_max=0, label=value, generator=generator) for _ in embeddings]
    return HeadRows(embeddings, label, side_by_side(drawn))

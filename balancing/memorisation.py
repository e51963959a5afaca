"""What makes memorisation visible: how differently training and validation rows of a class fare.

A network that memorises its few positives has a low loss on those it learns from and a high one
on others, and puts the two in different places of its last hidden layer. All is measured on
training and validation rows, never on test rows.

The number of rows matters: with few of them the range and the mean of a class are found badly,
so part of every difference between the classes is that of their sizes.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from balancing.batches import ResidentRows
from balancing.losses import cross_entropies
from balancing.networks.network import ScoringNetwork
from balancing.training import Observe

MOST_NEGATIVES = 5_000
"""Rows of the negative class that are looked at on either side: a sample, drawn once."""

CLASS_NAMES = ("negative", "positive")

_ROWS_AT_ONCE = 16_384


@dataclass(frozen=True, slots=True)
class ClassFeatures:
    """Where the rows of a class lie in the last hidden layer of each member, and their loss.

    Attributes:
        loss: Mean cross-entropy over rows and members, a scalar.
        mean: Of each feature.
        least: Of each feature.
        most: Of each feature.
        spread: Root mean square distance of the rows from their mean.

    Shape:
        ``()``; ``(n_members, width)`` three times; ``(n_members,)``.
    """

    loss: Tensor
    mean: Tensor
    least: Tensor
    most: Tensor
    spread: Tensor


def memorisation_of(
    network: ScoringNetwork, train: ResidentRows, validation: ResidentRows
) -> Observe:
    """Return what looks at a network, each time it is called, by class.

    The values, each with ``_negative`` or ``_positive`` behind it: ``train_loss`` and
    ``validation_loss`` (mean cross-entropy of the members), ``feature_deviation`` and
    ``generalisation_gap``. The network is left in training mode or not, as it was.

    Args:
        network: On the rows' device.
        train: Rows that it learns from: all positives and at most 5,000 negatives are looked at.
        validation: Rows that it does not learn from; as many of them.
    """
    # The same number on both sides: a range grows with the rows that it is taken from.
    seen, unseen = _sample(train), _sample(validation)

    def observe() -> Mapping[str, float]:
        was_training = network.training
        network.eval()
        values: dict[str, float] = {}
        for value, name in enumerate(CLASS_NAMES):
            learnt, new = (class_features(network, rows, value) for rows in (seen, unseen))
            found = {
                "train_loss": learnt.loss,
                "validation_loss": new.loss,
                "feature_deviation": feature_deviation(learnt, new),
                "generalisation_gap": generalisation_gap(learnt, new),
            }
            values |= {f"{what}_{name}": float(number) for what, number in found.items()}
        network.train(was_training)
        return values

    return observe


def feature_deviation(train: ClassFeatures, validation: ClassFeatures) -> Tensor:
    """Return how far the means lie apart, in spreads of the class's training rows.

    The mean over members of the Euclidean distance between the means of the class's training and
    validation rows. NaN where the training rows do not spread, as a single one does not.
    """
    distance: Tensor = torch.linalg.vector_norm(train.mean - validation.mean, dim=1)
    return (distance / torch.where(train.spread > 0, train.spread, torch.nan)).mean()


def generalisation_gap(train: ClassFeatures, validation: ClassFeatures) -> Tensor:
    """Return how far validation rows lie outside the range of training rows.

    ``max(0, max_validation - max_train) + max(0, min_train - min_validation)``, averaged over
    features and members.

    NOTE[DIFF] A working definition after the abstract of EOS (Dablain et al., arXiv 2207.06080),
    which gives no formula; and on validation rows, where the paper takes test rows.
    """
    above = (validation.most - train.most).clamp(min=0)
    below = (train.least - validation.least).clamp(min=0)
    return (above + below).mean()


@torch.no_grad()
def class_features(network: ScoringNetwork, rows: ResidentRows, value: int) -> ClassFeatures:
    """Return where the rows of one class lie, read in blocks.

    Args:
        network: In evaluation mode, on the rows' device.
        rows: With at least one row of the class.
        value: The class, 0 or 1.
    """
    parts = [
        _part(network, rows, numbers)
        for numbers in torch.split(torch.nonzero(rows.label == value).flatten(), _ROWS_AT_ONCE)
    ]
    weights = torch.tensor([part.size for part in parts], device=rows.label.device)
    weights = weights / weights.sum()
    mean = torch.einsum("p,pmw->mw", weights, torch.stack([part.mean for part in parts]))
    within = torch.stack(
        [part.square + (part.mean - mean).square().sum(dim=1) for part in parts], dim=1
    )
    return ClassFeatures(
        loss=torch.stack([part.loss for part in parts]) @ weights,
        mean=mean,
        least=torch.stack([part.least for part in parts]).amin(dim=0),
        most=torch.stack([part.most for part in parts]).amax(dim=0),
        spread=(within @ weights).sqrt(),
    )


@dataclass(frozen=True, slots=True)
class _Part:
    size: int
    loss: Tensor
    mean: Tensor
    least: Tensor
    most: Tensor
    square: Tensor
    """Mean squared distance from ``mean``, ``(n_members,)``."""


def _part(network: ScoringNetwork, rows: ResidentRows, numbers: Tensor) -> _Part:
    batch = rows.batch(numbers.unsqueeze(0))
    embeddings = network.body.embed(batch.inputs, batch.codes)
    logits = network.body.head(embeddings)
    mean = embeddings.mean(dim=1)
    return _Part(
        size=len(numbers),
        loss=cross_entropies(logits, batch.label.expand_as(logits)).mean(),
        mean=mean,
        least=embeddings.amin(dim=1),
        most=embeddings.amax(dim=1),
        square=(embeddings - mean.unsqueeze(1)).square().sum(dim=2).mean(dim=1),
    )


def _sample(rows: ResidentRows) -> ResidentRows:
    """Return all positives and at most ``MOST_NEGATIVES`` negatives, in their order."""
    label = rows.label
    negatives, positives = (torch.nonzero(label == value).flatten() for value in (0, 1))
    if len(negatives) > MOST_NEGATIVES:
        generator = torch.Generator(label.device).manual_seed(0)
        order = torch.randperm(len(negatives), generator=generator, device=label.device)
        negatives = negatives[order[:MOST_NEGATIVES]]
    kept = torch.cat([negatives, positives]).sort().values
    return ResidentRows(rows.inputs[kept], rows.codes[kept], label[kept])

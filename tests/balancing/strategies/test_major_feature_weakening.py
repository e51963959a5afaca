"""What is mixed into what; the method itself is our reading of an abstract."""

import pytest
import torch

from balancing.batches import place_rows
from balancing.losses import cross_entropies
from balancing.networks.build import build_network
from balancing.networks.mlp import MlpConfig
from balancing.strategies.major_feature_weakening import (
    MajorFeatureWeakening,
    MajorFeatureWeakeningConfig,
    weakened,
)


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_only_rows_of_the_larger_class_are_mixed_and_each_with_one_other_row():
    hidden = torch.randn(2, 50, 3)
    is_larger = (torch.arange(50) % 5 > 0).expand(2, 50).unsqueeze(2)
    others = torch.randperm(50, generator=_generator())

    mixed = weakened(hidden, is_larger, 0.25, generator=_generator())

    expected = 0.75 * hidden + 0.25 * hidden[:, others]
    torch.testing.assert_close(mixed, torch.where(is_larger, expected, hidden))
    assert torch.equal(mixed[:, ::5], hidden[:, ::5])
    assert (mixed[:, 1] != hidden[:, 1]).all()


@pytest.mark.parametrize("larger", [0.0, 1.0])
def test_a_step_takes_the_loss_of_mixed_features_of_the_larger_class(
    larger: float, make_toy, cardinalities
):
    toy = make_toy(n_positives=100 if larger == 0 else 500)
    torch.manual_seed(0)
    network = build_network(MlpConfig(n_members=2, width=8), toy, cardinalities=cardinalities)
    body, rows = network.body, place_rows(toy, network, device=torch.device("cpu"))
    numbers = torch.arange(200).reshape(2, 100)
    batch = rows.batch(numbers)
    with torch.no_grad():
        hidden = body.embed(batch.inputs, batch.codes)
        is_larger = (batch.label == larger).unsqueeze(2)
        logits = body.head(weakened(hidden, is_larger, 0.4, generator=_generator()))
    expected = cross_entropies(logits, batch.label).mean()

    strategy = MajorFeatureWeakening(MajorFeatureWeakeningConfig(weakening=0.4))
    found = strategy.step(rows, body, seed=0)(numbers, 0.0)

    torch.testing.assert_close(found, expected)


def test_no_weakening_changes_no_bit_of_features_or_gradient():
    hidden = torch.randn(2, 20, 3, requires_grad=True)
    is_larger = torch.ones(2, 20, 1, dtype=torch.bool)

    mixed = weakened(hidden, is_larger, 0.0, generator=_generator())
    (slopes,) = torch.autograd.grad(mixed.square().sum(), hidden)

    assert torch.equal(mixed, hidden)
    assert torch.equal(slopes, 2 * hidden)

"""The structure of the learnt weights; what every strategy must do: test_every_strategy."""

import numpy as np
import pytest
import torch

from balancing.batches import place_rows
from balancing.losses import cross_entropies
from balancing.networks.build import build_network
from balancing.networks.mlp import MlpConfig
from balancing.strategies.meta_weight_net import (
    MetaWeightNet,
    MetaWeightNetConfig,
    WeightNetwork,
    loss_after_step,
    meta_rows,
)
from balancing.training import TrainingConfig

MLP = MlpConfig(n_members=2, width=8)
RATE = 0.5


@pytest.fixture
def placed(make_toy, cardinalities):
    toy = make_toy()
    torch.manual_seed(0)
    network = build_network(MLP, toy, cardinalities=cardinalities).train()
    return network.body, place_rows(toy, network, device=torch.device("cpu"))


def _gradient(loss, body):
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(body.parameters()))])


def _flat(body):
    return torch.nn.utils.parameters_to_vector(body.parameters()).detach().clone()


def test_the_outer_step_goes_down_the_loss_that_is_weighed(placed):
    """The authors of MetaBalance compare with an outer step down the unweighted loss."""
    body, rows = placed
    training = TrainingConfig(optimizer="sgd", learning_rate=RATE, weight_decay=0, gradient_clip=0)
    # At a rate of 0 the weight network stays as it starts: the seed tells how that is.
    config = MetaWeightNetConfig(network=MLP, training=training, weight_learning_rate=0)
    strategy = MetaWeightNet(config)
    rows = strategy.rows(rows, seed=0)
    numbers = torch.arange(128).reshape(2, 64)
    batch = rows.batch(numbers)
    torch.manual_seed(5)
    step = strategy.step(rows, body, seed=0)
    torch.manual_seed(5)
    weights = WeightNetwork(body.n_members, config.weight_width)
    losses = cross_entropies(body(batch.inputs, batch.codes), batch.label)
    expected = _gradient((weights(losses).detach() * losses).mean(), body)
    plain = _gradient(cross_entropies(body(batch.inputs, batch.codes), batch.label).mean(), body)
    before = _flat(body)

    step(numbers, 0.0)

    # Nesterov's first step is 1.9 times a plain one.
    moved = (before - _flat(body)) / (RATE * 1.9)
    torch.testing.assert_close(moved, expected, rtol=1e-3, atol=1e-6)
    assert (moved - plain).norm() > 0.1 * plain.norm()


def test_the_weights_own_gradient_equals_finite_differences(placed):
    body, rows = placed
    body.double()
    torch.manual_seed(1)
    weights = WeightNetwork(body.n_members, 5).double()
    batch, meta = (_double(rows.batch(torch.arange(s, s + 50)[None])) for s in (0, 50))

    def meta_loss():
        weighed = weights.weighing(cross_entropies)
        return loss_after_step(
            body,
            batch,
            weighed,
            learning_rate=RATE,
            meta_batch=meta,
            meta_losses=cross_entropies,
        )

    found = _gradient(meta_loss(), weights)
    direction, start, values = found / found.norm(), _flat(weights), []
    for sign in (1, -1):
        torch.nn.utils.vector_to_parameters(start + sign * 1e-5 * direction, weights.parameters())
        values.append(meta_loss().item())

    slope = (values[0] - values[1]) / 2e-5
    assert float(found.norm()) > 0
    assert float(found.norm()) == pytest.approx(slope, rel=1e-4)


def _double(batch):
    return type(batch)(batch.inputs.double(), batch.codes, batch.label.double())


def test_the_weight_network_learns(placed):
    """Positives are rare and costly: on a balanced meta set, costly rows come to weigh more."""
    body, rows = placed
    training = TrainingConfig(batch_size=64)
    config = MetaWeightNetConfig(network=MLP, training=training, weight_learning_rate=0.01)
    strategy = MetaWeightNet(config)
    rows = strategy.rows(rows, seed=0)
    torch.manual_seed(5)
    network = WeightNetwork(body.n_members, config.weight_width)
    weights = strategy._weight_update(network, body, cross_entropies)
    levels = torch.tensor([[0.1, 3.0]]).expand(2, -1)
    before = network(levels).detach()
    batch = rows.batch(torch.arange(rows.n_rows)[None])

    for _ in range(60):
        weights(batch, cross_entropies, rows.meta.whole())

    after = network(levels).detach()
    gained = (after[:, 1] / after[:, 0]) / (before[:, 1] / before[:, 0])
    assert (gained > 1.1).all()


def test_the_meta_set_is_balanced_and_not_learnt_from(placed):
    _, rows = placed
    strategy = MetaWeightNet(MetaWeightNetConfig(meta_share=0.25))

    found = strategy.rows(rows, seed=3)

    assert found.meta.label.sum() == 15
    assert found.meta.n_rows == 30
    assert found.n_rows == 600 - 30
    together = torch.cat([found.inputs, found.meta.inputs])
    assert np.array_equal(np.unique(together, axis=0), np.unique(rows.inputs, axis=0))


def test_a_single_positive_serves_twice(make_toy, cardinalities):
    toy = make_toy(n_positives=1)
    network = build_network(MLP, toy, cardinalities=cardinalities)
    rows = place_rows(toy, network, device=torch.device("cpu"))

    found = MetaWeightNet(MetaWeightNetConfig()).rows(rows, seed=0)

    assert found.label.sum() == found.meta.label.sum() == 1
    assert (found.n_rows, found.meta.n_rows) == (599, 2)


def test_another_seed_draws_another_meta_set():
    label = torch.arange(100) % 2

    first, second = (meta_rows(label, share=0.2, seed=seed) for seed in (0, 1))

    assert not torch.equal(first, second)
    assert torch.equal(first, meta_rows(label, share=0.2, seed=0))

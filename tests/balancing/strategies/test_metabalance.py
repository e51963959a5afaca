"""The structure of the meta step; what every strategy must do stands in test_every_strategy."""

import numpy as np
import pytest
import torch

from balancing.batches import place_rows
from balancing.losses import cross_entropies
from balancing.networks.build import build_network
from balancing.networks.mlp import MlpConfig
from balancing.networks.tabm import TabMConfig
from balancing.sampling import PrevalenceSampling
from balancing.strategies.erm import Erm, ErmConfig
from balancing.strategies.metabalance import (
    MetaBalance,
    MetaBalanceConfig,
    along,
    inner_steps,
    mean_loss,
)
from balancing.training import TrainingConfig

MLP = MlpConfig(n_members=2, width=8)
TABM = TabMConfig(n_members=2, width=8, dropout=0.0)
RATE = 0.5


@pytest.fixture(params=[MLP, TABM], ids=["mlp", "tabm"])
def placed(request, make_toy, cardinalities):
    toy = make_toy()
    torch.manual_seed(0)
    network = build_network(request.param, toy, cardinalities=cardinalities).train()
    return network.body, place_rows(toy, network, device=torch.device("cpu"))


def _batches(rows, n: int):
    orders = torch.randperm(rows.n_rows, generator=torch.Generator().manual_seed(1))
    return [rows.batch(part[None]) for part in orders[: 64 * n].chunk(n)]


def _outer_gradient(body, inner, outer, *, second_order: bool):
    body.zero_grad()
    moved, _ = inner_steps(
        body, inner, cross_entropies, learning_rate=RATE, second_order=second_order
    )
    mean_loss(body, moved, outer, cross_entropies).backward()
    return torch.cat([p.grad.flatten() for p in body.parameters()]), moved


@pytest.mark.parametrize("n_steps", [1, 3])
def test_the_first_order_gradient_is_that_of_the_outer_loss_at_the_moved_weights(placed, n_steps):
    body, rows = placed
    *inner, outer = _batches(rows, n_steps + 1)
    found, moved = _outer_gradient(body, inner, outer, second_order=False)

    with torch.no_grad():
        for name, parameter in body.named_parameters():
            parameter.copy_(moved[name])
    body.zero_grad()
    mean_loss(body, dict(body.named_parameters()), outer, cross_entropies).backward()
    expected = torch.cat([p.grad.flatten() for p in body.parameters()])

    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("n_steps", [1, 2])
def test_the_second_order_gradient_equals_finite_differences(placed, n_steps):
    body, rows = placed
    body.double()
    *inner, outer = _batches(rows, n_steps + 1)
    inner, outer = [_double(b) for b in inner], _double(outer)
    found, _ = _outer_gradient(body, inner, outer, second_order=True)
    first_order, _ = _outer_gradient(body, inner, outer, second_order=False)
    direction = found / found.norm()

    slope = _slope_along(body, inner, outer, direction)

    assert float(found @ direction) == pytest.approx(slope, rel=1e-4)
    assert float(first_order @ direction) != pytest.approx(slope, rel=1e-3)


def _double(batch):
    return type(batch)(batch.inputs.double(), batch.codes, batch.label.double())


def _slope_along(body, inner, outer, direction, step=1e-6) -> float:
    values = []
    start = torch.nn.utils.parameters_to_vector(body.parameters()).detach().clone()
    for sign in (1, -1):
        moved_start = start + sign * step * direction
        torch.nn.utils.vector_to_parameters(moved_start, body.parameters())
        moved, _ = inner_steps(body, inner, cross_entropies, learning_rate=RATE, second_order=False)
        values.append(mean_loss(body, moved, outer, cross_entropies).item())
    torch.nn.utils.vector_to_parameters(start, body.parameters())
    return (values[0] - values[1]) / (2 * step)


def test_the_inner_loss_enters_with_its_own_gradient(placed):
    body, rows = placed
    (batch,) = _batches(rows, 1)
    _, gradient = inner_steps(
        body, [batch], cross_entropies, learning_rate=RATE, second_order=False
    )

    found = torch.autograd.grad(along(body, gradient), list(body.parameters()))

    loss = mean_loss(body, dict(body.named_parameters()), batch, cross_entropies)
    for each, expected in zip(
        found, torch.autograd.grad(loss, list(body.parameters())), strict=True
    ):
        torch.testing.assert_close(each, expected)


def test_members_take_the_step_that_each_would_take_alone(make_toy, cardinalities):
    toy = make_toy()
    torch.manual_seed(0)
    network = build_network(MLP, toy, cardinalities=cardinalities)
    rows = place_rows(toy, network, device=torch.device("cpu"))
    (batch,) = _batches(rows, 1)
    body = network.body
    moved, _ = inner_steps(body, [batch], cross_entropies, learning_rate=RATE, second_order=False)

    one = cross_entropies(body(batch.inputs, batch.codes)[:1], batch.label).mean()
    alone = torch.autograd.grad(one, body.output.weight)[0][0]

    expected = body.output.weight[0] - RATE * alone
    torch.testing.assert_close(moved["output.weight"][0], expected)


def test_without_an_inner_rate_it_is_plain_training_on_the_outer_sample(make_toy, cardinalities):
    toy = make_toy()
    training = TrainingConfig(batch_size=64)
    sampling = PrevalenceSampling(kind="balanced_batches", prevalence=0.3)
    shared = {"network": MLP, "training": training, "sampling": sampling}
    plain = Erm(ErmConfig(**shared))
    meta = MetaBalance(MetaBalanceConfig(**shared, inner_learning_rate=0.0, inner_loss_weight=0.0))

    logits = [
        s.fit(toy, cardinalities=cardinalities, n_epochs=2).logits(toy) for s in (plain, meta)
    ]

    assert np.array_equal(*logits)


def test_accumulation_makes_one_step_of_many_batches(make_toy, cardinalities):
    toy = make_toy()

    def fitted(accumulated: int, n_epochs: float):
        training = TrainingConfig(batch_size=100, accumulated_batches=accumulated)
        config = MetaBalanceConfig(network=MLP, training=training)
        return MetaBalance(config).fit(toy, cardinalities=cardinalities, n_epochs=n_epochs)

    start = fitted(100, n_epochs=0.01).logits(toy)

    assert np.array_equal(fitted(100, n_epochs=1).logits(toy), start)
    assert not np.array_equal(fitted(2, n_epochs=1).logits(toy), start)

"""The two passes of SAM-A, and label smoothing by class."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from balancing.batches import place_rows
from balancing.losses import cross_entropies, weighted
from balancing.networks.build import build_network
from balancing.networks.mlp import MlpConfig
from balancing.networks.tabm import TabMConfig
from balancing.strategies.metabalance import mean_loss
from balancing.strategies.sam_a import SamA, SamAConfig, climbed, smoothed

RHO = 0.3
WEIGHTED = weighted(cross_entropies, 1.0, 9.0)


@pytest.fixture(
    params=[MlpConfig(n_members=3, width=8), TabMConfig(n_members=3, width=8, dropout=0.0)],
    ids=["mlp", "tabm"],
)
def placed(request, make_toy, cardinalities):
    toy = make_toy()
    torch.manual_seed(0)
    network = build_network(request.param, toy, cardinalities=cardinalities).train()
    return network.body, place_rows(toy, network, device=torch.device("cpu"))


def _flat(weights, n_groups: int):
    return torch.cat([w.detach().reshape(n_groups, -1) for w in weights], dim=1)


def test_the_ascent_has_length_rho_along_the_weighted_gradient(placed):
    body, rows = placed
    n_groups = body.n_members if body.has_own_batches else 1
    start, batch = dict(body.named_parameters()), rows.batch(torch.arange(100)[None])

    moved = climbed(body, batch, WEIGHTED, rho=RHO)

    mean_loss(body, start, batch, WEIGHTED).backward()
    gradient = _flat([p.grad for p in start.values()], n_groups)
    step = _flat(moved.values(), n_groups) - _flat(start.values(), n_groups)
    torch.testing.assert_close(step.norm(dim=1), torch.full((n_groups,), RHO))
    cosine = (step * gradient).sum(dim=1) / (step.norm(dim=1) * gradient.norm(dim=1))
    torch.testing.assert_close(cosine, torch.ones(n_groups))


def test_members_on_their_own_climb_as_each_would_alone(make_toy, cardinalities):
    toy = make_toy()
    torch.manual_seed(0)
    network = build_network(MlpConfig(n_members=3, width=8), toy, cardinalities=cardinalities)
    rows = place_rows(toy, network, device=torch.device("cpu"))
    body, batch = network.body, rows.batch(torch.arange(100)[None])

    moved = climbed(body, batch, cross_entropies, rho=RHO)

    # The others' loss does not reach the first member's weights.
    alone = cross_entropies(body(batch.inputs, batch.codes)[:1], batch.label).mean()
    gradients = [g[0] for g in torch.autograd.grad(alone, list(body.parameters()))]
    length = torch.cat([g.flatten() for g in gradients]).norm()
    for weight, gradient, found in zip(body.parameters(), gradients, moved.values(), strict=True):
        torch.testing.assert_close(found[0], weight[0] + RHO * gradient / length)


def test_the_descent_is_by_the_unweighted_gradient_at_the_moved_weights(placed):
    body, rows = placed
    batch = rows.batch(torch.arange(100)[None])
    moved = climbed(body, batch, WEIGHTED, rho=RHO)

    mean_loss(body, moved, batch, cross_entropies).backward()
    found = [p.grad.clone() for p in body.parameters()]

    with torch.no_grad():
        for parameter, value in zip(body.parameters(), moved.values(), strict=True):
            parameter.copy_(value)
    body.zero_grad()
    cross_entropies(body(batch.inputs, batch.codes), batch.label.expand(3, -1)).mean().backward()
    for parameter, gradient in zip(body.parameters(), found, strict=True):
        torch.testing.assert_close(gradient, parameter.grad)


def test_a_step_climbs_by_the_imbalance_and_descends_without_it(placed):
    """With plain gradient descent a step is minus the rate times the gradient checked above."""
    body, rows = placed
    n_positives = int(rows.label.sum())
    ratio = (rows.n_rows - n_positives) / n_positives
    rate = 0.01
    training = {"optimizer": "sgd", "learning_rate": rate, "weight_decay": 0, "gradient_clip": 1e9}
    start = [p.detach().clone() for p in body.parameters()]
    numbers = torch.arange(100)[None]
    moved = climbed(body, rows.batch(numbers), weighted(cross_entropies, 1.0, ratio), rho=RHO)
    loss = mean_loss(body, moved, rows.batch(numbers), cross_entropies)
    gradients = torch.autograd.grad(loss, list(body.parameters()))

    strategy = SamA(SamAConfig(rho=RHO, training=training))
    reported = strategy.step(rows, body, seed=0)(numbers, 0.0)

    torch.testing.assert_close(reported, loss.detach())
    for before, gradient, after in zip(start, gradients, body.parameters(), strict=True):
        # Nesterov's first step: the gradient and 0.9 of it again.
        torch.testing.assert_close(after.detach(), before - rate * 1.9 * gradient)


def test_smoothed_labels_are_those_of_softmax_smoothing_by_class():
    logits, label = torch.linspace(-3, 3, 8), torch.tensor([0.0, 1.0] * 4)
    two = torch.stack([-logits / 2, logits / 2], dim=1)
    by_class = {0.0: 0.1, 1.0: 0.4}

    found = smoothed(cross_entropies, by_class[0.0], by_class[1.0])(logits, label)

    for value, share in by_class.items():
        rows = label == value
        expected = cross_entropy(
            two[rows], label[rows].long(), label_smoothing=share, reduction="none"
        )
        torch.testing.assert_close(found[rows], expected)


def test_smoothing_reaches_both_passes_and_none_changes_nothing(two_epochs):
    plain = two_epochs("sam_a", rho=0)
    both = {"negative": 0.05, "positive": 0.2}

    assert (two_epochs("sam_a", rho=0, smoothing=both) != plain).any()
    assert (two_epochs("sam_a", smoothing=both) != two_epochs("sam_a")).any()

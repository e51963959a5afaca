import numpy as np
import pytest
import torch

from balancing.dataset import OneClassOnly
from balancing.networks.build import NetworkConfig, build_network
from balancing.networks.mlp import MlpConfig
from balancing.networks.network import mean_probability_logit
from balancing.networks.tabm import TabMConfig
from balancing.preprocessing import PiecewiseLinearConfig, StandardiseConfig

SMALL: list[NetworkConfig] = [
    MlpConfig(n_members=1, width=8),
    MlpConfig(n_members=3, width=8),
    MlpConfig(n_members=2, width=8, numeric=PiecewiseLinearConfig(n_bins=4, d_embedding=2)),
    TabMConfig(n_members=4, width=8),
    TabMConfig(n_members=4, width=8, numeric=StandardiseConfig()),
]


@pytest.fixture(params=SMALL, ids=lambda c: f"{c.kind}-{c.n_members}-{c.numeric.kind}")
def network(request: pytest.FixtureRequest, make_toy, cardinalities):
    torch.manual_seed(0)
    return build_network(request.param, make_toy(), cardinalities=cardinalities).eval()


def _tensors(arrays):
    return torch.from_numpy(arrays.numeric), torch.from_numpy(arrays.categorical)


def test_logits_are_antisymmetric_to_the_bit(network, make_toy):
    logits = network(*_tensors(make_toy()))

    assert logits.shape == (600, 2)
    assert torch.equal(logits[:, 0], -logits[:, 1])


def test_probability_is_the_mean_of_the_members(network, make_toy):
    numeric, codes = _tensors(make_toy())
    members = network.body(network.numeric(numeric)[None], codes[None])

    probability = torch.softmax(network(numeric, codes), dim=1)[:, 1]

    torch.testing.assert_close(probability, torch.sigmoid(members).mean(0), atol=1e-6, rtol=1e-5)


def test_untrained_probabilities_lie_near_the_prevalence(network, make_toy):
    probability = torch.softmax(network(*_tensors(make_toy())), dim=1)[:, 1]

    assert 0.05 < probability.mean() < 0.2


def test_members_differ_from_the_start(network, make_toy):
    numeric, codes = _tensors(make_toy())
    members = network.body(network.numeric(numeric)[None], codes[None])

    assert len(torch.unique(members[:, 0])) == network.body.n_members


def test_rows_of_ones_own_give_what_shared_rows_give(network, make_toy):
    numeric, codes = _tensors(make_toy())
    inputs, n_members = network.numeric(numeric), network.body.n_members

    shared = network.body(inputs[None], codes[None])
    own = network.body(inputs.expand(n_members, -1, -1), codes.expand(n_members, -1, -1))

    torch.testing.assert_close(shared, own, atol=1e-6, rtol=1e-5)


def test_a_members_loss_does_not_move_the_others(make_toy, cardinalities):
    """In an ensemble of perceptrons the members are independent networks."""
    config = MlpConfig(n_members=3, width=8)
    network = build_network(config, make_toy(), cardinalities=cardinalities)
    numeric, codes = _tensors(make_toy())

    network.body(network.numeric(numeric)[None], codes[None])[1].sum().backward()

    for parameter in network.body.parameters():
        assert parameter.grad is not None
        assert parameter.grad[1].abs().sum() > 0
        assert parameter.grad[[0, 2]].abs().sum() == 0


def test_the_mean_probability_keeps_its_precision_far_out():
    members = torch.tensor([[-60.0, 60.0], [-62.0, 62.0]])

    logit = mean_probability_logit(members)

    expected = -60 + np.log((1 + np.exp(-2)) / 2)
    assert logit.tolist() == pytest.approx([expected, -expected], rel=1e-6)


def test_one_class_is_refused(make_toy):
    with pytest.raises(OneClassOnly, match="training rows must hold both classes"):
        build_network(MlpConfig(), make_toy(n_positives=0, categories=False))


@pytest.mark.parametrize("config", [MlpConfig, TabMConfig])
def test_a_misspelt_key_is_named(config):
    with pytest.raises(ValueError, match="widht"):
        config.model_validate({"widht": 3})

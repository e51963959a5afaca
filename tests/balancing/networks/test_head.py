"""The head read off a network is the one its logits come from."""

import numpy as np
import pytest
import torch

from balancing.dataset import without_categories
from balancing.networks.build import build_network
from balancing.networks.head import linear_head
from balancing.networks.layer_stack import LayerStack
from balancing.networks.mlp import MlpConfig
from balancing.networks.network import ScoringNetwork
from balancing.networks.tabm import TabMConfig


def network_of(config: MlpConfig | TabMConfig) -> ScoringNetwork:
    rng = np.random.default_rng(0)
    rows = without_categories(
        rng.normal(size=(40, 3)).astype(np.float32), (np.arange(40) < 10).astype(np.int8)
    )
    return build_network(config, rows).eval()


def test_logits_are_the_head_applied_to_the_last_hidden_layer() -> None:
    network = network_of(MlpConfig(n_members=1, n_layers=1, width=4))
    body, head = network.body, linear_head(network)
    assert isinstance(body, LayerStack)
    assert head is not None
    with torch.no_grad():
        body.output.weight.copy_(torch.tensor([3.0, 0.0, 4.0, 0.0]).reshape(1, 4, 1))
        body.output.bias.fill_(-2.0)

    head = linear_head(network)
    numeric = torch.randn(5, 3)
    with torch.no_grad():
        embedded = body.embed(network.numeric(numeric).unsqueeze(0), torch.empty(1, 5, 0).long())
        logits = network(numeric)

    assert head is not None
    assert head.weight_norms == (2.5, 2.5)
    assert head.bias == (1.0, -1.0)
    direction = torch.tensor([0.6, 0.0, 0.8, 0.0])
    expected = embedded[0] @ direction * head.weight_norms[1] + head.bias[1]
    torch.testing.assert_close(logits[:, 1], expected)
    torch.testing.assert_close(logits[:, 0], -expected)


@pytest.mark.parametrize("config", [MlpConfig(), TabMConfig(n_members=2, width=4)])
def test_several_members_have_no_linear_head(config: MlpConfig | TabMConfig) -> None:
    assert linear_head(network_of(config)) is None

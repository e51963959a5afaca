"""Layers of different width, and dropout behind some of them only."""

import pytest
import torch
from pydantic import ValidationError

from balancing.networks.build import build_network
from balancing.networks.mlp import MlpConfig


def _body(config: MlpConfig, toy, cardinalities):
    return build_network(config, toy, cardinalities=cardinalities).body


def test_widths_stand_in_for_width_and_layers(make_toy, cardinalities):
    body = _body(MlpConfig(n_members=1, widths=(6, 5, 4)), make_toy(), cardinalities)

    assert [layer.weight.shape[2] for layer in body.layers] == [6, 5, 4]
    assert body.output.weight.shape == (1, 4, 1)


def test_equal_widths_are_the_same_network_to_the_bit(make_toy, cardinalities):
    toy, rows = make_toy(), torch.zeros(1, 3, 5)
    codes = torch.zeros(1, 3, 2, dtype=torch.int64)
    logits = []
    for config in (MlpConfig(width=8, n_layers=3), MlpConfig(widths=(8, 8, 8))):
        torch.manual_seed(0)
        logits.append(_body(config, toy, cardinalities)(rows, codes))

    assert torch.equal(*logits)


def test_dropout_may_follow_one_layer_only(make_toy, cardinalities):
    config = MlpConfig(n_members=1, widths=(64, 64), dropout=(0.5, 0))
    body = _body(config, make_toy(categories=False), ()).train()
    seen = []
    for module in body.dropouts:
        module.register_forward_hook(lambda _, given, result: seen.append((given[0], result)))

    body(torch.randn(1, 200, 5), torch.empty(1, 200, 0, dtype=torch.int64))

    (before, after), (untouched, same) = seen
    assert (after[before > 0] == 0).float().mean().item() == pytest.approx(0.5, abs=0.05)
    assert torch.equal(untouched, same)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"widths": (8, 4), "dropout": (0.5,)}, "Got 1 for 2 layers"),
        ({"dropout": (0.5, 0.5, 0.5)}, "Got 3 for 2 layers"),
        ({"dropout": 1.0}, "less than 1"),
        ({"widths": ()}, "at least 1"),
        ({"widths": (8, 0)}, "greater than or equal to 1"),
    ],
)
def test_bad_layers_are_refused(bad, message):
    with pytest.raises(ValidationError, match=message):
        MlpConfig(**bad)


def test_a_configuration_survives_json():
    config = MlpConfig(widths=(16, 24), dropout=(0, 0.5))

    assert MlpConfig.model_validate_json(config.model_dump_json()) == config

"""Plain training and the registry; what every strategy must do: test_every_strategy."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from balancing.losses import cross_entropies
from balancing.networks.mlp import MlpConfig
from balancing.networks.tabm import TabMConfig
from balancing.strategies.erm import Erm, ErmConfig
from balancing.strategies.registry import build_strategy, read_strategy
from balancing.training import TrainingConfig, average_precision

MLP = MlpConfig(n_members=2, width=16)
TABM = TabMConfig(n_members=4, width=16)
TRAINING = TrainingConfig(batch_size=64, learning_rate=5e-3, patience=6, max_epochs=15)


def _erm(network=MLP, training=TRAINING) -> Erm:
    return Erm(ErmConfig(network=network, training=training))


def test_the_kept_network_is_the_best_one_seen(make_toy, cardinalities):
    validation = make_toy(seed=2)
    fitted = _erm().fit(make_toy(), cardinalities=cardinalities, validation=validation)

    logits = torch.from_numpy(fitted.logits(validation)[:, 1])
    score = average_precision(logits, torch.from_numpy(validation.label).float())

    best = max(fitted.trace.evaluations, key=lambda e: e.average_precision)
    assert score.item() == pytest.approx(best.average_precision, abs=1e-9)
    assert fitted.trace.epochs == best.epochs


def test_watching_does_not_change_the_training(make_toy, cardinalities):
    toy = make_toy()
    blind = _erm(TABM).fit(toy, cardinalities=cardinalities, n_epochs=2)
    watched = _erm(TABM).fit(
        toy, cardinalities=cardinalities, n_epochs=2, validation=make_toy(seed=2)
    )

    assert np.array_equal(blind.logits(toy), watched.logits(toy))


def test_the_loss_is_the_softmax_loss_of_the_antisymmetric_logits():
    member_logits, label = torch.randn(3, 8), torch.tensor([0.0, 1.0] * 4)
    logits = torch.stack([-member_logits / 2, member_logits / 2], dim=2)

    expected = torch.stack([cross_entropy(one, label.long()) for one in logits]).mean()

    found = cross_entropies(member_logits, label.expand_as(member_logits)).mean()
    torch.testing.assert_close(found, expected)


def test_the_registry_reads_and_builds_what_a_configuration_names():
    config = read_strategy({"kind": "erm", "network": {"kind": "tabm", "n_members": 4}})

    assert isinstance(config.network, TabMConfig)
    assert isinstance(build_strategy(config), Erm)
    with pytest.raises(ValueError, match="learning_rat"):
        read_strategy({"kind": "erm", "training": {"learning_rat": 1.0}})

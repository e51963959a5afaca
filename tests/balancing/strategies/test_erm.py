import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from balancing.dataset import LabelledArrays, OneClassOnly
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


@pytest.mark.parametrize("network", [MLP, TABM], ids=["mlp", "tabm"])
def test_learns_the_toy(network, make_toy, cardinalities, device):
    fresh = make_toy(seed=1)

    fitted = _erm(network).fit(
        make_toy(),
        cardinalities=cardinalities,
        validation=make_toy(seed=2),
        device=device,
    )

    logits = torch.from_numpy(fitted.logits(fresh)[:, 1])
    assert average_precision(logits, torch.from_numpy(fresh.label).float()) > 0.8
    assert fitted.trace.records[0].train_loss > fitted.trace.records[-1].train_loss


@pytest.mark.parametrize("network", [MLP, TABM], ids=["mlp", "tabm"])
def test_a_seed_fixes_every_bit(network, make_toy, cardinalities, device):
    toy = make_toy()
    logits = [
        _erm(network)
        .fit(toy, cardinalities=cardinalities, n_epochs=2, seed=seed, device=device)
        .logits(toy)
        for seed in (3, 3, 4)
    ]

    assert np.array_equal(logits[0], logits[1])
    assert not np.array_equal(logits[0], logits[2])


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


@pytest.mark.parametrize("network", [MLP, TABM], ids=["mlp", "tabm"])
def test_survives_one_positive_and_batches_without(network, make_toy, cardinalities, device):
    toy = make_toy(n_positives=1)

    fitted = _erm(network).fit(toy, cardinalities=cardinalities, n_epochs=2, device=device)

    assert np.isfinite(fitted.logits(toy)).all()


@pytest.mark.parametrize("fill", [0.0, np.nan, np.inf, 3e38])
@pytest.mark.parametrize("network", [MLP, TABM], ids=["mlp", "tabm"])
def test_survives_columns_that_say_nothing(network, fill: float):
    label = np.arange(40, dtype=np.int8) % 2
    arrays = LabelledArrays(np.full((40, 2), fill, np.float32), np.zeros((40, 1), np.int64), label)

    fitted = _erm(network).fit(arrays, cardinalities=(2,), n_epochs=2)

    assert np.isfinite(fitted.logits(arrays)).all()


def test_survives_a_table_without_numeric_columns(make_toy, cardinalities):
    toy = make_toy()
    only_codes = LabelledArrays(toy.numeric[:, :0], toy.categorical, toy.label)

    for network in (MLP, TABM):
        fitted = _erm(network).fit(only_codes, cardinalities=cardinalities, n_epochs=1)
        assert np.isfinite(fitted.logits(only_codes)).all()


@pytest.mark.parametrize("role", ["training", "validation"])
def test_one_class_is_refused(role: str, make_toy, cardinalities):
    both, one = make_toy(), make_toy(n_positives=0)
    train, validation = (one, both) if role == "training" else (both, one)

    with pytest.raises(OneClassOnly, match=f"The {role} rows must hold both classes"):
        _erm().fit(train, cardinalities=cardinalities, validation=validation)


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

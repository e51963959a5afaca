"""The structure of EOS, cRT and LWS; what every strategy must do stands in test_every_strategy."""

import logging

import numpy as np
import pytest
import torch

from balancing.dataset import LabelledArrays, without_categories
from balancing.networks.mlp import MlpConfig
from balancing.networks.tabm import TabMConfig
from balancing.sampling import PrevalenceSampling
from balancing.strategies import head_fitting
from balancing.strategies.eos import Eos, EosConfig, expand_rare_class
from balancing.strategies.erm import Erm, ErmConfig
from balancing.strategies.head_fitting import (
    HeadConfig,
    HeadRows,
    NewRows,
    SlicedBatches,
    member_groups,
)
from balancing.strategies.head_retraining import CrtConfig, Lws, LwsConfig, with_repeats
from balancing.strategies.heads import ScaledHead, balanced_moments
from balancing.strategies.metabalance import MetaBalanceConfig
from balancing.strategies.registry import build_strategy, read_strategy
from balancing.training import TrainingConfig

TRAINING = TrainingConfig(batch_size=64, learning_rate=5e-3, patience=6, max_epochs=8)
MLP = ErmConfig(network=MlpConfig(n_members=3, width=16), training=TRAINING)
TABM = ErmConfig(network=TabMConfig(n_members=3, width=16), training=TRAINING)
HEAD = HeadConfig(batch_size=128, n_epochs=5)

EOS = EosConfig(extractor=MLP, head=HEAD)
CRT = CrtConfig(extractor=MLP, head=HEAD)
LWS = LwsConfig(extractor=MLP, head=HEAD)
ALL = pytest.mark.parametrize("config", [EOS, CRT, LWS], ids=["eos", "crt", "lws"])


def _random_rows(n_new: int = 30) -> HeadRows:
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(2, 50, 4, generator=generator)
    label = (torch.arange(50) < 10).float()
    start, end = torch.randint(0, 10, (2, n_new)), torch.randint(10, 50, (2, n_new))
    reach = torch.rand(2, n_new, generator=generator)
    return HeadRows(embeddings, label, NewRows(1, start, end, reach))


def test_new_rows_lie_on_the_line_from_start_to_end():
    rows = _random_rows()
    new = rows.new

    made = rows.made(slice(0, 30))

    for member in (0, 1):
        start = rows.embeddings[member, new.start[member]]
        end = rows.embeddings[member, new.end[member]]
        expected = start + new.reach[member].unsqueeze(1) * (end - start)
        torch.testing.assert_close(made[member], expected)
    assert torch.equal(rows.made(slice(5, 9)), made[:, 5:9])


@pytest.mark.parametrize("towards", ["enemies", "own_class"])
def test_classes_end_exactly_at_the_target(towards: str, make_toy):
    label = torch.from_numpy(make_toy().label).float()
    embeddings = torch.randn(2, len(label), 8)

    new, notes = expand_rare_class(embeddings, label, EosConfig(towards=towards), seed=0)

    assert new.start.shape == (2, int((label == 0).sum()) - int(label.sum()))
    assert (label[new.start] == 1).all()
    assert (label[new.end] == (0 if towards == "enemies" else 1)).all()
    assert len(notes) == 2


def test_an_epoch_visits_every_row_once_and_orders_change():
    batches = SlicedBatches((100, 37), batch_size=20, seed=0)

    epochs = [torch.stack(list(batches.epoch())).tolist() for _ in range(2)]

    for epoch in epochs:
        assert len(epoch) == batches.n_batches == 7
        for first in (0, 2):
            slices = sorted((b[first], b[first + 1]) for b in epoch)
            assert [row for a, b in slices for row in range(a, b)] == list(
                range([100, 0, 37][first])
            )
    assert epochs[0] != epochs[1]


def test_the_shift_is_that_of_the_odds_with_the_new_rows():
    assert _random_rows(30).log_odds_shift == pytest.approx(np.log((40 / 40) / (10 / 40)))
    assert _random_rows(0).log_odds_shift == 0


def test_moments_weigh_the_classes_the_same():
    values = torch.tensor([[[0.0], [0.0], [0.0], [4.0]]])

    mean, deviation = balanced_moments(values, torch.tensor([0.0, 0.0, 0.0, 1.0]))

    assert (mean.item(), deviation.item()) == (2.0, 2.0)


def test_a_scaled_head_is_a_linear_head():
    rows = _random_rows()
    head = ScaledHead(rows.embeddings * 1000, rows.label)

    weight, bias = head.unscaled()

    scaled = (rows.embeddings * 1000 - head.centre) / head.spread
    torch.testing.assert_close(head(rows.embeddings * 1000), head.linear(scaled).squeeze(2))
    assert weight.shape == (2, 4, 1)
    assert bias.shape == (2, 1, 1)


def test_members_take_turns_where_memory_is_short(monkeypatch, make_toy, cardinalities):
    toy = make_toy()
    assert member_groups(8, n_rows=1_000_000, width=64) == [slice(0, 4), slice(4, 8)]
    assert member_groups(2, n_rows=10_000_000, width=64) == [slice(0, 1), slice(1, 2)]
    monkeypatch.setattr(head_fitting, "MOST_EMBEDDING_BYTES", 1)

    fitted = Eos(EOS).fit(toy, cardinalities=cardinalities, n_epochs=2, device="cpu")

    (made, timed) = fitted.trace.notes
    assert made == "480 rows towards enemies among 10 neighbours (3 of 3 members)"
    assert timed.startswith("heads fitted again in")


@ALL
@pytest.mark.parametrize("extractor", [MLP, TABM], ids=["mlp", "tabm"])
def test_all_but_the_head_is_frozen_to_the_bit(config, extractor, make_toy, cardinalities, device):
    toy = make_toy()
    config = config.model_copy(update={"extractor": extractor})
    options = {"cardinalities": cardinalities, "n_epochs": 2, "seed": 1, "device": device}

    plain = Erm(extractor).fit(toy, **options).network.state_dict()
    retrained = build_strategy(config).fit(toy, **options).network.state_dict()

    changed = {name for name in plain if not torch.equal(plain[name], retrained[name])}
    assert changed == {"body.output.weight", "body.output.bias"}


@ALL
def test_the_network_speaks_of_the_data_as_they_are(config, cardinalities):
    """One informative column with overlapping classes; 10 % positives, learnt from at 50 %."""
    rng = np.random.default_rng(0)
    label = (rng.random(6000) < 0.1).astype(np.int8)
    numeric = rng.normal(size=(6000, 3)) + 1.5 * label[:, None] * [1, 0, 0]
    rows = without_categories(numeric.astype(np.float32), label)

    logits = build_strategy(config).fit(rows, n_epochs=4, device="cpu").logits(rows)[:, 1] * 2

    # Towards enemies positives come to lie where negatives are, which no shift can undo.
    tolerance = 0.05 if config.kind == "eos" else 0.01
    assert (1 / (1 + np.exp(-logits.astype(float)))).mean() == pytest.approx(0.1, abs=tolerance)


def test_one_member_is_never_re_ranked_by_factors_on_its_logits(make_toy, cardinalities):
    one = MLP.model_copy(update={"network": MlpConfig(n_members=1, width=16)})
    toy = make_toy()
    options = {"cardinalities": cardinalities, "n_epochs": 3, "device": "cpu"}

    plain = Erm(one).fit(toy, **options).logits(toy)[:, 1]
    scaled = Lws(LWS.model_copy(update={"extractor": one})).fit(toy, **options).logits(toy)[:, 1]

    ratio = scaled / plain
    assert ratio == pytest.approx(np.full_like(ratio, ratio[0]), rel=1e-3)
    assert ratio[0] > 0
    assert ratio[0] != 1


@ALL
def test_a_seed_fixes_every_bit(config, make_toy, cardinalities, device):
    toy = make_toy()
    logits = [
        build_strategy(config)
        .fit(toy, cardinalities=cardinalities, n_epochs=1, seed=seed, device=device)
        .logits(toy)
        for seed in (3, 3, 4)
    ]

    assert np.array_equal(logits[0], logits[1])
    assert not np.array_equal(logits[0], logits[2])


def test_metabalance_then_eos_by_configuration(make_toy, cardinalities):
    config = read_strategy(
        {
            "kind": "eos",
            "head": {"batch_size": 128},
            "extractor": {
                "kind": "metabalance",
                "sampling": {"kind": "balanced_batches", "prevalence": 0.3},
                "network": {"kind": "mlp", "n_members": 2, "width": 16},
                "training": TRAINING.model_dump(),
            },
        }
    )

    strategy = build_strategy(config)
    fitted = strategy.fit(make_toy(), cardinalities=cardinalities, validation=make_toy(seed=2))

    assert isinstance(config.extractor, MetaBalanceConfig)
    assert config.extractor.sampling == PrevalenceSampling(kind="balanced_batches", prevalence=0.3)
    assert strategy.retrains_head
    assert len(fitted.trace.evaluations) > 0
    assert np.isfinite(fitted.logits(make_toy(seed=3))).all()


@ALL
def test_one_positive_is_enough(config, make_toy, cardinalities, device):
    toy = make_toy(n_positives=1)

    fitted = build_strategy(config).fit(toy, cardinalities=cardinalities, n_epochs=1, device=device)

    assert np.isfinite(fitted.logits(toy)).all()


def test_a_class_without_enemies_is_told_of(caplog: pytest.LogCaptureFixture):
    """200 rows of the rarer class in one place, and the other class far away."""
    numeric = np.concatenate([np.full(200, 5.0), np.full(300, -5.0)])[:, None].astype(np.float32)
    label = np.concatenate([np.ones(200), np.zeros(300)]).astype(np.int8)
    rows = LabelledArrays(numeric, np.zeros((500, 0), np.int64), label)

    with caplog.at_level(logging.WARNING):
        fitted = Eos(EOS).fit(rows, n_epochs=2, device="cpu")

    expected = "no enemy among 160 neighbours, so neighbours of the same class"
    assert fitted.trace.notes[0] == f"100 rows towards {expected} (3 of 3 members)"
    assert [record.how for record in caplog.records] == [expected] * 3
    assert np.isfinite(fitted.logits(rows)).all()


def test_crt_is_eos_without_new_places(make_toy):
    """Its added rows are repeats: they lie where a positive lies."""
    label = torch.from_numpy(make_toy().label).float()
    rows = with_repeats(torch.randn(2, 600, 4), label, prevalence=0.5, seed=0)

    assert rows.sizes == (600, 480)
    assert (label[rows.new.start] == 1).all()
    assert torch.equal(rows.made(slice(0, 480))[0], rows.embeddings[0, rows.new.start[0]])


def test_settings_of_the_network_are_the_extractors():
    config = CrtConfig.model_validate({"network": {"kind": "mlp", "width": 7}, "prevalence": 0.1})

    assert config.extractor == ErmConfig(network=MlpConfig(width=7))
    assert config.prevalence == 0.1
    assert CrtConfig.model_validate(config.model_dump()) == config

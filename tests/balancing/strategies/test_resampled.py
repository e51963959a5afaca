"""Re-sampled rows as the network meets them, and its odds afterwards."""

import math
from typing import get_args

import numpy as np
import pytest
import torch

from balancing.batches import place_rows
from balancing.networks.build import build_network
from balancing.networks.mlp import MlpConfig
from balancing.repeated_batches import RepeatedBatches
from balancing.resampling import Cleaner, Oversampler, Undersampler
from balancing.strategies.balanced_bagging import (
    BaggedBatches,
    BalancedBagging,
    BalancedBaggingConfig,
)
from balancing.strategies.registry import build_strategy
from balancing.strategies.resampled import Resampled, ResampledConfig, distance_space
from balancing.training import TrainingConfig, average_precision

METHODS = [*get_args(Oversampler), *get_args(Undersampler), *get_args(Cleaner)]
MLP = MlpConfig(n_members=2, width=16)
TRAINING = TrainingConfig(batch_size=64, learning_rate=5e-3)


def _placed(toy, cardinalities):
    network = build_network(MLP, toy, cardinalities=cardinalities)
    return place_rows(toy, network, device=torch.device("cpu"))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns_the_toy(method, make_toy, cardinalities):
    toy, fresh = make_toy(), make_toy(seed=1)
    strategy = Resampled(ResampledConfig(method=method, network=MLP, training=TRAINING))

    fitted = strategy.fit(toy, cardinalities=cardinalities, n_epochs=10)

    logits = torch.from_numpy(fitted.logits(fresh)[:, 1])
    reached = average_precision(logits, torch.from_numpy(fresh.label).float())
    assert reached > (0.3 if method == "nearmiss" else 0.75)  # 0.1 is chance


@pytest.mark.parametrize("method", METHODS)
def test_rows_keep_their_form_and_codes_occurred_before(method, make_toy, cardinalities):
    rows = _placed(make_toy(), cardinalities)

    found = Resampled(ResampledConfig(method=method)).rows(rows, seed=0)

    assert found.inputs.dtype == torch.float32
    assert found.codes.dtype == torch.int64
    assert found.inputs.shape[1] == rows.inputs.shape[1]
    pairs = {tuple(pair) for pair in rows.codes.tolist()}
    assert {tuple(pair) for pair in found.codes.tolist()} <= pairs


def test_the_shift_is_that_of_the_class_sizes(make_toy, cardinalities):
    rows = _placed(make_toy(), cardinalities)  # 540 negative, 60 positive

    for prevalence, odds in [(0.5, 1.0), (0.2, 0.25), (0.01, 60 / 540)]:
        config = ResampledConfig(method="random_over", prevalence=prevalence)
        found = Resampled(config).rows(rows, seed=0)
        assert found.log_odds_shift == pytest.approx(math.log(odds / (60 / 540)))


@pytest.mark.parametrize("method", ["random_over", "random_under", "smote"])
def test_the_networks_odds_stay_natural(method, make_toy, cardinalities):
    toy = make_toy(n_rows=2000)
    strategy = Resampled(ResampledConfig(method=method, network=MLP, training=TRAINING))

    fitted = strategy.fit(toy, cardinalities=cardinalities, n_epochs=4)

    probability = 1 / (1 + np.exp(-2 * fitted.logits(toy)[:, 1]))
    assert probability.mean() == pytest.approx(toy.label.mean(), rel=0.35)


def test_two_categories_differ_by_half_a_unit_in_two_places(make_toy, cardinalities):
    rows = _placed(make_toy(), cardinalities)

    space = distance_space(rows)

    assert space.shape == (600, rows.inputs.shape[1] + 5)  # the column of 40 codes stays out
    assert np.array_equal(space[:, : rows.inputs.shape[1]], rows.inputs.numpy())
    first = int((rows.codes[:, 0] == 3).nonzero()[0])
    other = int((rows.codes[:, 0] == 4).nonzero()[0])
    gap = space[first, -5:] - space[other, -5:]
    assert (gap**2).sum() == pytest.approx(0.5)


@pytest.mark.parametrize(
    "config",
    [
        ResampledConfig(method="random_under", training=TRAINING),
        BalancedBaggingConfig(training=TRAINING),
    ],
    ids=lambda config: config.kind,
)
def test_an_epoch_over_a_small_sample_is_as_long_as_over_all_rows(config, make_toy, cardinalities):
    toy = make_toy()
    strategy = build_strategy(config)
    body = build_network(MLP, toy, cardinalities=cardinalities).body
    rows = strategy.rows(_placed(toy, cardinalities), seed=0)

    batches = strategy.batches(rows, body, seed=0)
    visited = torch.cat(list(batches.epoch()), dim=1)

    assert visited.shape == (2, 600)
    assert batches.n_batches == len(list(batches.epoch())) == 10
    assert (visited.unique(return_counts=True)[1] % 5 == 0).all()


def test_an_epoch_over_a_tiny_sample_is_judged_after_some_dozen_batches():
    label = (torch.arange(100_000) < 100).float()
    bagged = BaggedBatches(label, sizes=(100, 100), batch_size=50, n_members=1, seed=0)

    repeated = RepeatedBatches(bagged, n_sampled=200, n_rows=100_000)

    assert (repeated.n_rounds, repeated.n_batches) == (16, 64)


def test_each_member_keeps_its_own_bag():
    label = torch.zeros(100)
    label[:10] = 1
    batches = BaggedBatches(label, sizes=(10, 10), batch_size=5, n_members=3, seed=0)

    epochs = [torch.cat(list(batches.epoch()), dim=1) for _ in range(2)]

    assert epochs[0].shape == (3, 20)
    assert batches.n_batches == 4
    assert not torch.equal(*epochs)
    assert torch.equal(epochs[0].sort(1).values, epochs[1].sort(1).values)
    assert (label[epochs[0]].sum(1) == 10).all()
    assert not torch.equal(batches.bags[0], batches.bags[1])


def test_bagging_keeps_the_networks_odds_natural(make_toy, cardinalities):
    toy = make_toy(n_rows=2000)
    training = TrainingConfig(batch_size=64, learning_rate=5e-3)
    config = BalancedBaggingConfig(network=MLP, training=training)

    fitted = BalancedBagging(config).fit(toy, cardinalities=cardinalities, n_epochs=4)

    probability = 1 / (1 + np.exp(-2 * fitted.logits(toy)[:, 1]))
    assert probability.mean() == pytest.approx(toy.label.mean(), rel=0.35)

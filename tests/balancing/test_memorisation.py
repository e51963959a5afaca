"""Memorisation: its measures on numbers that can be added up, and on a network that memorises."""

import math

import pytest
import torch

from balancing import memorisation
from balancing.batches import ResidentRows, place_rows
from balancing.memorisation import (
    ClassFeatures,
    class_features,
    feature_deviation,
    generalisation_gap,
    memorisation_of,
)
from balancing.memorisation_plot import plot_memorisation
from balancing.networks.build import build_network
from balancing.networks.mlp import MlpConfig
from balancing.strategies.erm import Erm, ErmConfig
from balancing.strategies.registry import build_strategy, read_strategy
from balancing.training import TrainingConfig

NAMES = {
    f"{what}_{name}"
    for what in ("train_loss", "validation_loss", "feature_deviation", "generalisation_gap")
    for name in ("negative", "positive")
}
ERM = ErmConfig(
    network=MlpConfig(n_members=2, width=16),
    training=TrainingConfig(batch_size=64, learning_rate=5e-3, patience=6, max_epochs=3),
)


def _features(least, most, *, mean=None, spread=1.0) -> ClassFeatures:
    least, most = torch.tensor(least), torch.tensor(most)
    middle = (least + most) / 2 if mean is None else torch.tensor(mean)
    return ClassFeatures(
        torch.tensor(0.0), middle, least, most, torch.full((len(least),), float(spread))
    )


def test_the_gap_is_what_reaches_beyond_the_training_range():
    """Feature 0: 1 above and 0.5 below; feature 1: within; of another member: nothing, 3 below."""
    train = _features([[0.0, 0.0], [0.0, 0.0]], [[4.0, 4.0], [4.0, 4.0]])
    new = _features([[-0.5, 1.0], [0.0, -3.0]], [[5.0, 3.0], [4.0, 0.0]])

    assert generalisation_gap(train, new).item() == pytest.approx((1.5 + 0 + 0 + 3) / 4)
    assert generalisation_gap(train, train).item() == 0


def test_the_deviation_is_the_distance_of_the_means_in_spreads():
    train = _features([[0.0, 0.0]], [[0.0, 0.0]], mean=[[1.0, 1.0]], spread=2.0)
    new = _features([[0.0, 0.0]], [[0.0, 0.0]], mean=[[4.0, 5.0]])

    assert feature_deviation(train, new).item() == pytest.approx(5 / 2)
    assert math.isnan(feature_deviation(_features([[0.0]], [[1.0]], spread=0), new).item())


@pytest.fixture
def placed(make_toy, cardinalities, device):
    torch.manual_seed(0)
    toy = make_toy()
    network = build_network(ERM.network, toy, cardinalities=cardinalities).to(device)
    place = torch.device(device)
    return network, place_rows(toy, network, device=place), place_rows(
        make_toy(seed=2), network, device=place
    )  # fmt: skip


def test_blocks_add_up_to_the_whole(placed, monkeypatch):
    network, rows, _ = placed
    network.eval()
    embeddings = network.body.embed(rows.inputs[None], rows.codes[None])[:, rows.label == 0]
    monkeypatch.setattr(memorisation, "_ROWS_AT_ONCE", 100)

    found = class_features(network, rows, 0)

    mean = embeddings.mean(dim=1)
    distances = (embeddings - mean[:, None]).norm(dim=2)
    torch.testing.assert_close(found.mean, mean)
    torch.testing.assert_close(found.spread, distances.square().mean(dim=1).sqrt())
    torch.testing.assert_close(found.least, embeddings.amin(dim=1))
    torch.testing.assert_close(found.most, embeddings.amax(dim=1))


def test_rows_that_are_learnt_from_deviate_in_nothing_from_themselves(placed):
    network, rows, _ = placed
    network.train()

    seen = memorisation_of(network, rows, rows)()

    assert set(seen) == NAMES
    assert network.training
    for name in ("negative", "positive"):
        assert seen[f"train_loss_{name}"] == seen[f"validation_loss_{name}"] > 0
        assert seen[f"feature_deviation_{name}"] == seen[f"generalisation_gap_{name}"] == 0


def test_at_most_so_many_negatives_are_looked_at_and_all_positives(placed, monkeypatch):
    network, rows, validation = placed
    monkeypatch.setattr(memorisation, "MOST_NEGATIVES", 50)
    looked_at: list[int] = []
    part = memorisation._part

    def counting(network, rows: ResidentRows, numbers):
        looked_at.append(len(numbers))
        return part(network, rows, numbers)

    monkeypatch.setattr(memorisation, "_part", counting)
    observe = memorisation_of(network, rows, validation)

    assert observe() == observe()
    assert looked_at == [50, 50, 60, 60] * 2


def test_learning_by_heart_shows(make_toy, cardinalities):
    """20 positives whose labels are drawn at random: there is nothing to learn but themselves."""
    toy, fresh = make_toy(200), make_toy(200, seed=2)
    rng = torch.Generator().manual_seed(0)
    for rows in (toy, fresh):
        rows.label[:] = rows.label[torch.randperm(200, generator=rng).numpy()]
    by_heart = ERM.model_copy(
        update={"training": ERM.training.model_copy(update={"max_epochs": 40, "patience": 80})}
    )

    trace = (
        Erm(by_heart)
        .fit(toy, cardinalities=cardinalities, validation=fresh, observer=memorisation_of)
        .trace
    )

    first, last = trace.observations[0].values, trace.observations[-1].values
    assert last["train_loss_positive"] < first["train_loss_positive"] / 2
    assert last["validation_loss_positive"] > 2 * last["train_loss_positive"]
    assert last["generalisation_gap_positive"] > first["generalisation_gap_positive"]


@pytest.mark.parametrize("kind", ["erm", "crt"])
def test_being_watched_changes_nothing_and_tells_once_an_evaluation(
    kind: str, make_toy, cardinalities
):
    plain = ERM.model_dump()
    config = plain if kind == "erm" else {"kind": kind, "extractor": plain}
    strategy, toy = build_strategy(read_strategy(config)), make_toy()
    options = {"cardinalities": cardinalities, "validation": make_toy(seed=2)}

    alone = strategy.fit(toy, **options)
    watched = strategy.fit(toy, **options, observer=memorisation_of)

    assert (alone.logits(toy) == watched.logits(toy)).all()
    assert alone.trace.observations == ()
    evaluations = watched.trace.evaluations
    assert [o.epochs for o in watched.trace.observations] == [e.epochs for e in evaluations]


def test_the_plot_shows_both_classes_and_leaves_out_what_is_no_number():
    seen = [dict.fromkeys(NAMES, 0.5) | {"epochs": 1.0}, dict.fromkeys(NAMES, 0.25)]
    seen[1]["feature_deviation_positive"] = None

    figure = plot_memorisation([0.5, 1.0], seen)

    losses, deviations, gaps = figure.axes
    labels = [line.get_label() for line in losses.lines]
    assert labels == [
        "negative, train", "negative, validation", "positive, train", "positive, validation",
    ]  # fmt: skip
    assert len(gaps.lines) == 2
    assert math.isnan(deviations.lines[1].get_ydata()[1])
    assert all(axes.get_ylabel() for axes in figure.axes)

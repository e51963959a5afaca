"""What every registered strategy must do, whatever it is about; a new one is held to it at once."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from pydantic import BaseModel

import balancing
from balancing.calibration.calibrator import sigmoid
from balancing.calibration.fitting.calibrators import fit_platt
from balancing.calibration.temperatures import log_odds
from balancing.dataset import LabelledArrays, OneClassOnly
from balancing.metrics.calibration_quality import log_loss
from balancing.strategies.registry import StrategyConfig, build_strategy, read_strategy
from balancing.strategies.strategy import Strategy
from balancing.training import average_precision

NETWORKS: dict[str, dict[str, Any]] = {
    "mlp": {"kind": "mlp", "n_members": 2, "width": 16},
    "tabm": {"kind": "tabm", "n_members": 4, "width": 16},
}
TRAINING = {"batch_size": 64, "learning_rate": 5e-3, "patience": 10, "max_epochs": 40}

NEEDS_A_CALIBRATOR = {
    "focal",
    "ldam",
    "major_feature_weakening",
    "meta_weight_net",
    "sam_a",
    "vs_loss",
}
"""Kinds whose probabilities no known shift restores, as their docstrings say."""


def _config_types(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models of nested unions, annotated or not."""
    if isinstance(annotation, type):
        if issubclass(annotation, BaseModel):
            yield annotation
        return
    for part in get_args(annotation):
        yield from _config_types(part)


CONFIGS = {config.model_fields["kind"].default: config for config in _config_types(StrategyConfig)}
KINDS = sorted(CONFIGS)


KNOWN_SHIFTS: dict[str, dict[str, Any]] = {
    kind: {"kind": kind} for kind in KINDS if kind not in NEEDS_A_CALIBRATOR
} | {
    f"{kind}-{sampling}": {"kind": kind, "sampling": {"kind": sampling, "prevalence": 0.5}}
    for kind in ("erm", "metabalance")
    for sampling in ("undersampled", "oversampled", "balanced_batches")
}
KNOWN_SHIFTS["erm-deferred"] = {"kind": "erm", "deferred": {"beta": 0.999, "start_epoch": 1}}
KNOWN_SHIFTS["focal-weights-alone"] = {"kind": "focal", "gamma": 0, "alpha": 0.8}
"""Settings whose shift of the odds is known, and undone before anyone sees a logit."""


def _strategy(kind: str, network: str = "mlp", **settings: object) -> Strategy:
    """Return a strategy as it is by default, with a small network and short training."""
    small: dict[str, object] = {"network": NETWORKS[network], "training": TRAINING}
    if "extractor" in CONFIGS[kind].model_fields:
        small = {"extractor": {"kind": "erm", **small}}
    return build_strategy(read_strategy({"kind": kind, **small, **settings}))


def _log_odds(fitted, arrays: LabelledArrays):
    return log_odds(fitted.logits(arrays))


def test_the_registry_is_read_whole():
    assert {"erm", "metabalance", "vs_loss"} <= set(KINDS)
    assert set(KINDS) >= NEEDS_A_CALIBRATOR


@pytest.mark.parametrize("kind", KINDS)
def test_the_table_in_the_readme_has_a_line_for_it(kind: str):
    readme = Path(balancing.__file__).with_name("README.md").read_text("utf-8")
    first_cells = [line.split("|")[1] for line in readme.splitlines() if line.startswith("| `")]

    assert any(f"`{kind}`" in cell for cell in first_cells)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("kind", KINDS)
def test_learns_the_toy(kind: str, network: str, make_toy, cardinalities, device):
    fresh = make_toy(seed=1)

    fitted = _strategy(kind, network).fit(
        make_toy(), cardinalities=cardinalities, validation=make_toy(seed=2), device=device
    )

    score = torch.from_numpy(_log_odds(fitted, fresh))
    assert average_precision(score, torch.from_numpy(fresh.label).float()) > 0.8
    assert fitted.trace.records[0].train_loss > fitted.trace.records[-1].train_loss


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_fixes_every_bit(kind: str, network: str, make_toy, cardinalities, device):
    toy = make_toy()
    logits = [
        _strategy(kind, network)
        .fit(toy, cardinalities=cardinalities, n_epochs=2, seed=seed, device=device)
        .logits(toy)
        for seed in (3, 3, 4)
    ]

    assert np.array_equal(logits[0], logits[1])
    assert not np.array_equal(logits[0], logits[2])


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("kind", KINDS)
def test_survives_one_positive_and_batches_without(
    kind: str, network: str, make_toy, cardinalities, device
):
    toy = make_toy(n_positives=1)

    fitted = _strategy(kind, network).fit(
        toy, cardinalities=cardinalities, n_epochs=2, device=device
    )

    assert np.isfinite(fitted.logits(toy)).all()


@pytest.mark.parametrize("fill", [0.0, np.nan, np.inf, 3e38])
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("kind", KINDS)
def test_survives_columns_that_say_nothing(kind: str, network: str, fill: float):
    label = np.arange(40, dtype=np.int8) % 2
    arrays = LabelledArrays(np.full((40, 2), fill, np.float32), np.zeros((40, 1), np.int64), label)

    fitted = _strategy(kind, network).fit(arrays, cardinalities=(2,), n_epochs=2)

    assert np.isfinite(fitted.logits(arrays)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_survives_scattered_gaps_and_infinities(kind: str, make_toy, cardinalities):
    toy = make_toy()
    toy.numeric[::7, 0] = np.nan
    toy.numeric[::11, 2] = np.inf
    toy.numeric[::13, 2] = -np.inf

    fitted = _strategy(kind).fit(toy, cardinalities=cardinalities, n_epochs=2)

    assert np.isfinite(fitted.logits(toy)).all()


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("kind", KINDS)
def test_survives_a_table_without_numeric_columns(kind: str, network: str, make_toy, cardinalities):
    toy = make_toy()
    only_codes = LabelledArrays(toy.numeric[:, :0], toy.categorical, toy.label)

    fitted = _strategy(kind, network).fit(only_codes, cardinalities=cardinalities, n_epochs=1)

    assert np.isfinite(fitted.logits(only_codes)).all()


@pytest.mark.parametrize("missing", ["positive", "negative"])
@pytest.mark.parametrize("role", ["training", "validation"])
@pytest.mark.parametrize("kind", KINDS)
def test_one_class_is_refused(kind: str, role: str, missing: str, make_toy, cardinalities):
    both, one = make_toy(), make_toy(n_positives=0 if missing == "positive" else 600)
    train, validation = (one, both) if role == "training" else (both, one)

    with pytest.raises(
        OneClassOnly, match=f"The {role} rows must hold both classes. .* none of them {missing}"
    ):
        _strategy(kind).fit(train, cardinalities=cardinalities, validation=validation)


@pytest.fixture(scope="module")
def noisy_toy(make_toy):
    """A maker of toy rows whose labels are drawn: there is a probability to be right about."""

    @cache
    def make(seed: int, n_rows: int = 4000) -> LabelledArrays:
        toy = make_toy(n_rows, seed=seed)
        chance = sigmoid(3 * toy.numeric[:, 0] + 3 * (toy.categorical[:, 0] == 3) - 5)
        drawn = np.random.default_rng(seed).random(n_rows) < chance
        return LabelledArrays(toy.numeric, toy.categorical, drawn.astype(np.int8))

    return make


@pytest.fixture(scope="module")
def plain_on_noise(noisy_toy, cardinalities):
    """Plain training on the noisy toy, to compare with."""
    return _strategy("erm").fit(noisy_toy(0), cardinalities=cardinalities, n_epochs=4)


@pytest.mark.parametrize("name", KNOWN_SHIFTS)
def test_probabilities_need_no_correction_where_shifts_are_known(
    name: str, noisy_toy, plain_on_noise, cardinalities
):
    """A shift left in, or taken out twice, would show in both."""
    fresh = noisy_toy(1, n_rows=20_000)

    fitted = _strategy(**KNOWN_SHIFTS[name]).fit(
        noisy_toy(0), cardinalities=cardinalities, n_epochs=4
    )

    probability, plain = (sigmoid(_log_odds(f, fresh)) for f in (fitted, plain_on_noise))
    assert probability.mean() == pytest.approx(fresh.label.mean(), rel=0.12)
    assert log_loss(fresh.label, probability) < log_loss(fresh.label, plain) + 0.01


@pytest.mark.parametrize("kind", sorted(NEEDS_A_CALIBRATOR))
def test_platt_scaling_restores_the_other_probabilities(
    kind: str, noisy_toy, plain_on_noise, cardinalities
):
    fresh, calibration = noisy_toy(1, n_rows=20_000), noisy_toy(2)

    fitted = _strategy(kind).fit(noisy_toy(0), cardinalities=cardinalities, n_epochs=4)
    platt = fit_platt(_log_odds(fitted, calibration), calibration.label.astype(np.int64))

    probability = platt.apply(_log_odds(fitted, fresh))
    plain = sigmoid(_log_odds(plain_on_noise, fresh))
    assert probability.mean() == pytest.approx(fresh.label.mean(), rel=0.1)
    assert log_loss(fresh.label, probability) < log_loss(fresh.label, plain) + 0.01

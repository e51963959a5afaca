"""Configurations by file and by name, and what the shipped ones say."""

from pathlib import Path

import numpy as np
import pytest

from balancing.dataset import without_categories
from balancing.sampling import PrevalenceSampling
from balancing.strategies.metabalance import MetaBalanceConfig
from balancing.strategies.registry import build_strategy
from flows.run_config import RunConfig, RunConfigError, read_run_config, shipped_run_configs

CARD, LOAN = "metabalance_replication", "metabalance_replication_loan"


def _shipped(name: str, *, seed: int | None = None) -> RunConfig:
    return read_run_config(Path(name), strategy=None, seed=seed)


@pytest.mark.parametrize("name", shipped_run_configs())
def test_every_shipped_configuration_survives_json(name):
    config = _shipped(name)

    assert RunConfig.model_validate_json(config.model_dump_json()) == config


def test_the_replication_has_the_authors_settings():
    card, loan = (_shipped(name).strategy for name in (CARD, LOAN))

    assert isinstance(card, MetaBalanceConfig)
    assert card.network.hidden_widths == (16, 24, 20, 24)
    assert card.network.dropouts == (0, 0.5, 0, 0)
    assert loan.network.hidden_widths == (25,)
    for config in (card, loan):
        training = config.training
        assert (config.inner_batch_size, training.batch_size) == (24, 16)
        assert training.accumulated_batches == 81
        assert (training.optimizer, training.learning_rate) == ("sgd", 0.1)
        assert (config.inner_learning_rate, config.inner_loss_weight) == (0.01, 0.01)
        assert config.sampling == PrevalenceSampling(kind="undersampled", prevalence=0.5)


@pytest.mark.parametrize("name", [CARD, LOAN])
def test_ablations_differ_in_what_they_leave_out_only(name):
    whole, no_inner, plain = (
        _shipped(f"{name}{suffix}").strategy.model_dump()
        for suffix in ("", "_no_inner_step", "_same_batch")
    )

    assert no_inner == whole | {"inner_learning_rate": 0.0}
    assert plain == {key: whole[key] for key in plain} | {"kind": "erm"}


@pytest.mark.parametrize("name", shipped_run_configs())
def test_every_shipped_configuration_trains(name):
    rng = np.random.default_rng(0)
    numeric = rng.normal(size=(400, 4)).astype(np.float32)
    rows = without_categories(numeric, (numeric[:, 0] > 1).astype(np.int8))
    strategy = build_strategy(_shipped(name).strategy)

    start, trained = (strategy.fit(rows, n_epochs=n).logits(rows) for n in (1, 12))

    assert np.isfinite(trained).all()
    assert not np.array_equal(start, trained)


def test_the_command_line_is_laid_over_a_shipped_one():
    config = _shipped(CARD, seed=7)

    assert config.seed == 7
    assert config.few_positives == 0


def test_a_name_that_is_not_shipped_is_refused_with_those_that_are():
    with pytest.raises(RunConfigError, match=f"neither a file nor a shipped one .*{LOAN},"):
        _shipped("metabalance_replikation")


def test_a_file_without_an_ending_is_read_as_a_file(tmp_path):
    (tmp_path / "run").write_text("seed = 3")

    assert read_run_config(tmp_path / "run", strategy=None, seed=None).seed == 3


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(RunConfigError, match=r"Cannot read .*run\.toml"):
        read_run_config(tmp_path / "run.toml", strategy=None, seed=None)

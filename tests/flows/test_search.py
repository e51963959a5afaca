"""``train --strategy auto``: what is tried, what is chosen, what is recorded."""

import json
from pathlib import Path

import pytest

from flows.run_config import AUTO_MEMBERS, RunConfigError, read_run_config
from flows.search import candidates


def test_defaults_have_their_turn_before_further_trials():
    config = read_run_config(None, strategy="auto", seed=3)

    jobs = candidates(config.search, config, Path("features"), Path("search"))

    assert [job.member for job in jobs[: len(AUTO_MEMBERS)]] == list(AUTO_MEMBERS)
    assert {job.trial for job in jobs[: len(AUTO_MEMBERS)]} == {0}
    assert all(job.seed == 3 and not job.scores_test_rows for job in jobs)
    assert len({job.folder for job in jobs}) == len(jobs)


def test_a_configuration_may_name_its_own_candidates(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('[search]\nmembers = ["erm", "focal"]\nn_trials = 2\nbudget_minutes = 5')

    config = read_run_config(path, strategy=None, seed=None, search_budget=1.5)

    assert config.search.budget_minutes == 1.5
    jobs = candidates(config.search, config, Path("features"), Path("search"))
    assert [job.member for job in jobs] == ["erm", "focal", "erm", "focal"]


def test_members_of_a_bakeoff_are_strategies_too():
    config = read_run_config(None, strategy="smote", seed=None)

    assert (config.strategy.kind, config.strategy.method) == ("resampled", "smote")
    with pytest.raises(RunConfigError, match="'catboost' takes part in whitecrow benchmark only"):
        read_run_config(None, strategy="catboost", seed=None)
    with pytest.raises(RunConfigError, match="there is no 'magic', only 'erm'"):
        read_run_config(None, strategy="magic", seed=None)


def test_a_budget_without_a_search_is_refused():
    with pytest.raises(RunConfigError, match="--search-budget needs --strategy auto"):
        read_run_config(None, strategy="erm", seed=None, search_budget=5)


def test_the_chosen_strategy_is_trained_and_what_was_tried_is_kept(train, tiny, stream, tmp_path):
    path = tmp_path / "two.toml"
    search = '[search]\nmembers = ["erm", "focal"]\nn_trials = 1\nbudget_minutes = 10\n'
    path.write_text(f"{tiny.read_text()}{search}")

    done = train(tmp_path, stream, "--config", path)

    assert done.code == 0, done.err
    run = Path(done.json["report"]).parent
    found = json.loads((run / "search" / "search.json").read_text())
    trained = json.loads((run / "training.json").read_text())
    assert {each["candidate"] for each in found["tried"]} == {"erm", "focal"}
    assert trained["config"]["strategy"] == found["strategy"]
    assert done.json["strategy"] == found["strategy"]["kind"]
    reached = [each["validation_average_precision"] or 0 for each in found["tried"]]
    assert reached == sorted(reached, reverse=True)
    assert found["validation_average_precision"] == reached[0]
    plain = [each for each in found["tried"] if (each["candidate"], each["trial"]) == ("erm", 0)]
    assert plain[0]["validation_average_precision"] > 0
    assert not [each for each in run.glob("search/*/logits.parquet") if "test" in _parts(each)]


def _parts(path: Path) -> set[str]:
    import polars as pl

    return set(pl.read_parquet(path)["part"])

"""kill -9 at every boundary between steps and at random moments: what was finished stays so."""

import json
import os
import random
import signal
import time
from contextlib import suppress

import pytest

from serving.model_store import ModelStore
from tests.flows.retraining.conftest import TO, WINDOW, Home, Steps, kill, wait_for

pytestmark = [pytest.mark.xdist_group("trained"), pytest.mark.slow]

STEPS = (
    "pick", "fingerprint", "validate", "featurize", "search", "train", "recalibrate", "evaluate",
    "bundle", "log", "release", "judge", "promote",
)  # fmt: skip
N_KILLS = 20


@pytest.mark.timeout(3600)
def test_killed_behind_every_step_it_goes_on_and_repeats_nothing(start, home, trained) -> None:
    command = ("retrain", "stream", "--data", trained.stream, *WINDOW, "--device", "cpu", "--json")
    ended: dict[str, str] = {}
    for step in STEPS:
        process = start(home.path, *command)

        def is_finished(step: str = step) -> bool:
            return any((run / "steps" / f"{step}.json").is_file() for run in home.runs)

        wait_for(is_finished, process, 600)
        kill(process)
        (run,) = home.runs
        found = Steps(run).finished()
        # Sources may change until the last step that reads them is done.
        is_read = "featurize" in ended
        kept = {name: at for name, at in ended.items() if is_read or name != "fingerprint"}
        assert kept.items() <= found.items()
        ended = found

    out, err = start(home.path, *command).communicate(timeout=600)

    answer = json.loads(out)
    assert (answer["version"], answer["champion"], answer["is_repeated"]) == ("2", False, False)
    (run,) = home.runs
    assert Steps(run).finished() == ended
    assert set(ended) == set(STEPS)
    assert "goes on" in err
    _require_one_retraining(home, answer["run_id"])


def _require_one_retraining(home: Home, run_id: str) -> None:
    home.require_whole(versions=["1", "2"])
    assert home.events("retrain.finished") == ["retrain.finished"]
    assert home.events("gated") == ["gated"]
    assert home.client.get_run(run_id).info.status == "FINISHED"
    (experiment,) = home.client.search_experiments(filter_string="name = 'stream'")
    models = home.client.search_logged_models([experiment.experiment_id])
    assert len([model for model in models if model.source_run_id == run_id]) == 1
    tested = [entry for entry in home.ledger.entries() if entry.event == "test_rows.read"]
    assert len([entry for entry in tested if entry.details.get("run")]) == 2


@pytest.mark.timeout(7200)
def test_killed_at_random_moments_it_leaves_whole_versions_only(forks, home, trained) -> None:
    chance, n_kills, n_done = random.Random(6), 0, 0
    usual = Steps(trained.run).seconds()

    def start() -> int:
        is_under_way = len(home.runs) > n_done
        if is_under_way and chance.random() < 0.5:
            return forks.start("retrain", "stream", "--resume")
        # Another window each time one is done, so that there is something to train.
        window = ("--from", f"2025-01-{10 + n_done:02d}", "--to", TO)
        return forks.start(
            "retrain", "stream", "--data", trained.stream, *window, "--device", "cpu"
        )

    while n_kills < N_KILLS:
        begun = len(home.events("retrain.started"))
        process = start()
        # In the midst of one of the next steps, which may take as long as it did before.
        left = [step for step in STEPS if step not in _finished(home, n_done)]
        step = chance.choice(left[:3] or STEPS[-1:])
        while (status := forks.status(within=0.01)) is None:
            # What an attempt that was killed says of itself does not count.
            has_begun = len(home.events("retrain.started")) > begun
            if has_begun and _is_at(home, n_done, step):
                time.sleep(chance.uniform(0, usual.get(step, 1.0)))
                break
        if status is None:
            with suppress(ProcessLookupError):
                os.killpg(process, signal.SIGKILL)
            status = forks.status(within=60)
        assert status in (0, -signal.SIGKILL), forks.log.read_text()
        n_kills += status != 0
        n_done += status == 0
        _require_no_harm(home)
    start()
    assert forks.status(within=1800) == 0, forks.log.read_text()

    n_versions = n_done + 2
    home.require_whole(versions=[str(number) for number in range(1, n_versions + 1)])
    assert home.events("retrain.finished") == ["retrain.finished"] * (n_done + 1)
    assert len(home.runs) == n_done + 1


def _finished(home: Home, n_done: int) -> set[str]:
    """Steps that the present run has finished; none where it has not begun."""
    runs = home.runs
    return set(Steps(runs[-1]).finished()) if len(runs) > n_done else set()


def _is_at(home: Home, n_done: int, step: str) -> bool:
    """Return whether the present run is at a step, or past it."""
    runs = home.runs
    if len(runs) <= n_done:
        return False
    return step in (Steps(runs[-1]).under_way(), *_finished(home, n_done))


def _require_no_harm(home: Home) -> None:
    """At any moment: the champion is whole, and what the ledger tells of is there."""
    store = ModelStore(home.path)
    champion = store.resolve("stream")
    assert champion.model_version == "1"
    store.bundle("stream", "1")
    assert home.ledger.verify() > 0
    for entry in home.ledger.entries("stream"):
        if entry.event == "registered":
            bundle = store.bundle("stream", entry.details["model_version"])
            assert bundle.model_sha256 == entry.details["model_sha256"]
            assert entry.details["model_version"] in home.registered

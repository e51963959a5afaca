"""A retraining by the command line: what it makes, what it repeats, and what it refuses."""

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from flows.left_versions import withdraw_left_versions
from flows.locks import one_at_a_time
from infra.settings import Settings
from infra.tracking import open_tracking
from tests.flows.retraining.conftest import FROM, TO, WINDOW, Home

pytestmark = pytest.mark.xdist_group("trained")

COMMAND = ("retrain", "stream", "--device", "cpu", "--actor", "bo", "--reason", "monthly", "--json")


@pytest.fixture(scope="module")
def doubled(frame, tmp_path_factory) -> Path:
    """Rows of the stream once more, as a careless export has them."""
    path = tmp_path_factory.mktemp("doubled") / "doubled.parquet"
    frame.tail(5_000).write_parquet(path)
    return path


@pytest.fixture(scope="module")
def retrained(whitecrow, trained, doubled, tmp_path_factory):
    """The state folder after a retraining, what was asked for, and the answer."""
    home = Home(Path(shutil.copytree(trained.home, tmp_path_factory.mktemp("re") / "home")))
    asked = (*COMMAND, "--data", trained.stream, "--data", doubled, *WINDOW)
    done = whitecrow(home.path, *asked)
    assert done.code == 0, done.err
    return home, asked, done.json


def test_a_new_version_waits_and_the_gate_has_judged_it(retrained) -> None:
    home, _, answer = retrained

    home.require_whole(versions=["1", "2"])
    assert (answer["version"], answer["policy_version"], answer["champion"]) == ("2", "2", False)
    # Without a rule that says otherwise a person promotes.
    assert answer["verdict"] == "person"
    assert Path(answer["page"]).is_file()
    assert answer["next_command"] == "whitecrow promote stream:2 --reason '...'"
    assert answer["strategy"] == "erm"
    assert not answer["is_repeated"]


def test_the_ledger_tells_the_whole_story(retrained) -> None:
    home, _, answer = retrained

    told = home.events("registered", "gated", "retrain.finished", "retrain.failed")
    assert told == ["registered", "registered", "gated", "retrain.finished"]
    started = next(e for e in home.ledger.entries("stream") if e.event == "retrain.started")
    assert (started.actor, started.reason) == ("bo", "monthly")
    assert started.details["since"] == "2025-01-10T00:00:00+00:00"
    assert started.details["key"] == answer["key"]


def test_the_window_picks_rows_and_the_contract_is_the_champions(retrained, frame) -> None:
    home, _, answer = retrained
    manifest = home.store.bundle("stream", "2").manifest
    first = home.store.bundle("stream", "1").manifest
    inside = frame.filter(
        pl.col("TX_DATETIME").is_between(
            pl.lit(FROM).str.to_datetime(time_zone="UTC"),
            pl.lit(TO).str.to_datetime(time_zone="UTC"),
            closed="left",
        )
    )

    assert manifest.contract == first.contract
    assert manifest.training["config"] == first.training["config"]
    assert [source["role"] for source in manifest.data] == ["data", "source", "source"]
    # The doubled rows are in quarantine, once; those before the window are the past of its rows.
    validation = json.loads((Path(answer["report"]).parent / "validation.json").read_text())
    past = frame.filter(pl.col("TX_DATETIME") < inside["TX_DATETIME"].min())
    assert past.height > 0
    assert validation["data"]["passed"] == inside.height + past.height
    tables = [json.loads(each.read_text()) for each in home.path.glob("features/*/counts.json")]
    assert [each["history_rows"] for each in tables if "history_rows" in each] == [past.height]
    doubled = manifest.data[0]["rows"] - inside.height - past.height
    assert validation["data"]["quarantined"] == doubled > 0


def test_the_same_window_again_trains_nothing(whitecrow, retrained) -> None:
    home, asked, answer = retrained
    before = home.events()

    done = whitecrow(home.path, *asked)

    assert (done.code, done.json) == (0, answer | {"is_repeated": True})
    assert home.events() == before
    assert len(home.runs) == 1


def test_nothing_is_doubled_where_the_last_steps_run_again(whitecrow, retrained) -> None:
    """As after a kill between what a step did and its fact."""
    home, _, answer = retrained
    before = [event for event in home.events() if event != "retrain.started"]
    (run,) = home.runs
    for step in ("release", "promote"):
        (run / "steps" / f"{step}.json").unlink()
    (book,) = home.path.glob("retrainings/stream/*.json")
    entry = json.loads(book.read_text())
    book.write_text(json.dumps(entry | {"outcome": None}))

    done = whitecrow(home.path, "retrain", "stream", "--resume", "--json")

    assert done.code == 0, done.err
    assert done.json == answer
    home.require_whole(versions=["1", "2"])
    assert [event for event in home.events() if event != "retrain.started"] == before


def test_a_finished_retraining_cannot_go_on(whitecrow, retrained) -> None:
    home, _, answer = retrained

    done = whitecrow(home.path, "retrain", "stream", "--resume", "--json")

    assert done.code == 2
    assert answer["run"] in done.error
    assert "is finished" in done.error


def test_the_second_of_two_at_once_is_told_who_is_at_it(whitecrow, retrained) -> None:
    home, asked, _ = retrained
    settings = Settings(home=home.path)

    with one_at_a_time(settings, "retrain-stream", doing="retraining stream", actor="ana"):
        done = whitecrow(home.path, *asked)

    assert done.code == 1
    assert done.error.startswith("retraining stream: ana does so already since 20")


def test_a_version_that_a_killed_run_left_is_taken_back(retrained) -> None:
    home, _, _ = retrained
    settings = Settings(home=home.path)
    tracking = open_tracking(settings)
    run = home.path / "runs" / "killed"
    shutil.copytree(home.runs[0], run)
    run_id = tracking.start_run("stream", run_name="killed", tags={})
    record = json.loads((run / "run.json").read_text()) | {"mlflow_run_id": run_id}
    (run / "run.json").write_text(json.dumps(record))
    source = home.client.get_model_version("stream", "2").source
    version = tracking.register(
        "stream",
        model_uri=source,
        run_id=run_id,
        description="",
        tags={"whitecrow.state": "staged"},
    )
    with home.store.new_bundle("stream", version) as staging:
        (staging / "half").touch()

    def withdrawn() -> list[str]:
        return withdraw_left_versions(settings, tracking, home.store, "stream", but="another")

    with one_at_a_time(settings, "run-killed", doing="run killed", actor="ana"):
        assert withdrawn() == []
    assert withdrawn() == [version] == ["3"]

    shutil.rmtree(run)
    home.require_whole(versions=["1", "2"])


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("retrain", "nobody"), "no champion of 'nobody'"),
        (("retrain", "nobody", "-c", "simulated_stream"), "to take --data from"),
        (("retrain", "Stream!"), "NAME:"),
        (("retrain", "stream", "--from", "yesterday"), "--from"),
        (("retrain", "stream", "--to", "2025-13-01"), "--to"),
        (("retrain", "stream", "--as-of", "soon"), "--as-of"),
        (("retrain", "stream", "--from", "2025-03-01", "--to", "2025-02-01"), "--from, --to"),
        (("retrain", "stream", "--device", "tpu"), "--device"),
        (("retrain", "stream", "--strategy", "magic"), "magic"),
        (("retrain", "stream", "-c", "nope"), "nope"),
        (("retrain", "stream", "-c", "credit_default", "--from", "2025-03-01"), "event time"),
        (("retrain", "stream", "--data", "nope.parquet"), "nope.parquet"),
        (("retrain", "stream", "--resume"), "nothing can go on"),
        (("retrain", "stream", "--resume", "--from", "2025-03-01"), "--from"),
        (("retrain", "stream", "--resume", "--again"), "--again"),
        (("retrain", "stream", "--resume", "--accept-drift"), "--accept-drift"),
        (("resume", "no-such-run"), "no-such-run"),
    ],
    ids=lambda value: " ".join(value[1:]) if isinstance(value, tuple) else "",
)
def test_bad_input_is_one_line_and_begins_nothing(whitecrow, trained, arguments, named) -> None:
    before = len(list(trained.home.glob("runs/*")))

    done = whitecrow(trained.home, *arguments, "--json")

    assert done.code == 2
    assert named in done.error
    assert done.json == {"error": {"message": done.error}}
    assert len(list(trained.home.glob("runs/*"))) == before


def test_a_run_that_is_no_training_cannot_go_on(whitecrow, retrained) -> None:
    home, _, answer = retrained

    of_retraining = whitecrow(home.path, "resume", answer["run"])
    of_the_gate = whitecrow(home.path, "resume", Path(answer["page"]).parent)

    assert (of_retraining.code, of_the_gate.code) == (2, 2)
    assert "whitecrow retrain stream --resume" in of_retraining.error
    assert "is no run that can go on" in of_the_gate.error


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (pl.col("TX_FRAUD").eq(0).cast(pl.Int64).alias("TX_FRAUD"), "label_rate"),
        (pl.lit(9_999.0).alias("TX_AMOUNT"), "mean_drift(TX_AMOUNT)"),
        (pl.col("TX_AMOUNT").mean(), "varies(TX_AMOUNT)"),
    ],
    ids=["flipped labels", "other amounts", "a constant in place of amounts"],
)
def test_poisoned_data_stop_at_validation_and_the_champion_serves(
    whitecrow, home, frame, spoil, named
) -> None:
    data = home.path / "poisoned.parquet"
    frame.with_columns(spoil).write_parquet(data)

    done = whitecrow(home.path, *COMMAND, "--data", data, *WINDOW)

    assert done.code == 1
    assert done.error.startswith("Retraining stream stopped at the step 'validate': ")
    assert named in done.error
    assert "Version 1 with policy 1 goes on serving" in done.error
    assert done.error.endswith("To go on: whitecrow retrain stream --resume")
    assert home.events("retrain.started", "retrain.failed") == ["retrain.started", "retrain.failed"]
    assert home.store.versions("stream") == ["1"]
    failed = home.ledger.entries("stream")[-1]
    assert failed.details["step"] == "validate"


def test_a_drift_that_a_person_accepts_is_trained_on_and_told_in_the_ledger(
    whitecrow, home, frame
) -> None:
    data = home.path / "dearer.parquet"
    frame.with_columns(pl.col("TX_AMOUNT") * 20).write_parquet(data)
    stopped = whitecrow(home.path, *COMMAND, "--data", data, *WINDOW)

    whitecrow(home.path, *COMMAND, "--data", data, *WINDOW, "--accept-drift")

    assert "If the table is right and the world has changed, add --accept-drift" in stopped.error
    assert home.store.versions("stream") == ["1", "2"]
    begun = [each for each in home.ledger.entries("stream") if each.event == "retrain.started"]
    assert [each.details.get("accepts_drift") for each in begun] == [None, True]


def test_mlflow_that_is_away_begins_nothing(whitecrow, home, trained, monkeypatch) -> None:
    monkeypatch.setenv("WHITECROW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")

    done = whitecrow(home.path, *COMMAND, "--data", trained.stream, *WINDOW)

    assert done.code == 2
    assert "MLflow at http://127.0.0.1:9 does not answer" in done.error
    assert home.runs == []
    assert home.store.versions("stream") == ["1"]


def test_a_training_goes_on_by_its_run_and_doubles_nothing(whitecrow, home, trained) -> None:
    run = home.path / "runs" / trained.run.name
    for step in ("log", "release"):
        (run / "steps" / f"{step}.json").unlink()

    done = whitecrow(home.path, "resume", run.name, "--json")

    assert done.code == 0, done.err
    assert {**done.json, "bundle": None, "report": None} == {
        **trained.answer, "bundle": None, "report": None,
    }  # fmt: skip
    home.require_whole(versions=["1"])
    points = home.client.get_metric_history(done.json["run_id"], "train_loss")
    assert len(points) == len({point.step for point in points}) > 0

"""A new policy without a new model: which rows it is made of, what it changes, and when."""

import json
import shutil
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from mlflow import MlflowClient

from flows.kept_rows import CALIBRATION_FILE
from flows.row_choice import calibration_rows
from infra.exploration import Exploration
from infra.ledger import Ledger
from infra.storage import sha256_file
from serving.model_store import ModelStore
from serving.verification import load_scorer

pytestmark = pytest.mark.xdist_group("trained")

MAX_FPR = """
review = {objective = "max_fpr", max_fpr = 0.05}
decline = {objective = "max_fpr", max_fpr = 0.01}
exploration = {rate = 0.1, max_amount = 500}
"""


@pytest.fixture(scope="module")
def newer(frame, tmp_path_factory) -> Path:
    """The same stream without its first row: another file, its rows from other days on."""
    path = tmp_path_factory.mktemp("newer") / "newer.parquet"
    frame.slice(1).write_parquet(path)
    return path


@pytest.fixture
def policy_file(tmp_path):
    """Writes a policy file."""

    def write(text: str = MAX_FPR) -> Path:
        (tmp_path / "policy.toml").write_text(text)
        return tmp_path / "policy.toml"

    return write


@pytest.fixture(scope="module")
def recalibrated(whitecrow, trained, tmp_path_factory):
    """A state folder with a second policy, and what the command answered; not to be changed."""
    home = tmp_path_factory.mktemp("recalibrated") / "home"
    shutil.copytree(trained.home, home)
    policy = home.parent / "policy.toml"
    policy.write_text(MAX_FPR)
    done = whitecrow(
        home, "recalibrate", "stream", trained.stream, "--policy", policy,
        "--actor", "bo", "--reason", "fewer alerts", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    return home, done.json


@pytest.fixture
def home(recalibrated, tmp_path) -> Path:
    """A copy of that state folder, to be changed."""
    return Path(shutil.copytree(recalibrated[0], tmp_path / "home"))


def test_a_new_policy_waits_beside_the_live_one(recalibrated) -> None:
    home, answer = recalibrated
    store = ModelStore(home)

    assert (answer["version"], answer["policy_version"], answer["compared_with"]) == ("1", "2", "1")
    assert store.policy_versions("stream") == ["1", "2"]
    assert store.resolve("stream").policy_version == "1"
    assert store.resolve("stream@challenger").policy_version == "2"
    assert store.versions("stream") == ["1"]


def test_it_serves_the_objectives_of_the_file(recalibrated) -> None:
    home, answer = recalibrated
    policy = ModelStore(home).policy("stream", "2")

    assert policy.thresholds.review.objective.model_dump() == {
        "objective": "max_fpr", "max_fpr": 0.05,
    }  # fmt: skip
    assert policy.thresholds.review.achieved.false_positive_rate <= 0.05
    assert answer["thresholds"]["review"]["threshold"] == policy.thresholds.review.threshold
    assert (policy.actor, policy.reason) == ("bo", "fewer alerts")


def test_it_lets_through_what_the_file_says_and_the_preview_what_that_costs(recalibrated) -> None:
    home, answer = recalibrated
    store, wanted = ModelStore(home), {"rate": 0.1, "max_amount": 500.0}
    rows = pl.read_parquet(answer["preview_rows"])
    small = rows.filter((pl.col("new_decision") == 2) & (pl.col("amount") <= 500))
    created = Ledger(home / "whitecrow.db").entries()[answer["ledger_sequence"] - 1]

    assert store.policy("stream", "1").exploration is None
    assert store.policy("stream", "2").exploration == Exploration(**wanted)
    assert answer["exploration"] == created.details["exploration"] == wanted
    assert answer["impact"]["old"]["explored"] == 0
    assert small.height > 0
    assert answer["impact"]["new"]["explored"] == pytest.approx(small.height / 10)
    assert "approved all the same" in Path(answer["preview"]).read_text()


def test_the_training_data_calibrate_with_the_rows_held_out_then(recalibrated, trained) -> None:
    home, answer = recalibrated
    kept = home / "calibration" / "stream" / "1" / CALIBRATION_FILE
    rows = pl.read_parquet(kept)

    assert answer["calibration"]["fingerprint"] == sha256_file(kept)
    assert answer["calibration"]["rows"] == rows.height
    assert answer["calibration"]["positives"] == int(rows["label"].sum())
    assert {"amount_minor", "ENTRY_MODE", "is_night"} <= set(rows.columns)


def test_the_same_policy_results_from_the_same_rows_and_objectives(whitecrow, home, stream) -> None:
    done = whitecrow(home, "recalibrate", "stream", stream, "--reason", "again", "--json")

    assert done.code == 0, done.err
    first, again = (ModelStore(home).policy("stream", version) for version in ("1", "3"))
    assert again.thresholds.model_dump_json() == first.thresholds.model_dump_json()
    assert again.calibrator == first.calibrator
    assert again.policy_id != first.policy_id


def test_promotion_makes_exactly_that_policy_live_and_rollback_undoes_it(
    whitecrow, home, stream, tmp_path
) -> None:
    store = ModelStore(home)
    whitecrow(home, "recalibrate", "stream", stream, "--reason", "a third")

    promoted = whitecrow(home, "promote", "stream:1", "--policy", "2", "--reason", "less", "--json")
    assert promoted.code == 0, promoted.err
    assert (promoted.json["before_policy_version"], promoted.json["policy_version"]) == ("1", "2")
    assert store.resolve("stream").policy_version == "2"
    scored = tmp_path / "scored.parquet"
    whitecrow(home, "score", stream, "-m", "stream", "-o", scored, "--json")
    assert pl.read_parquet(scored)["policy_version"].unique().to_list() == ["2"]

    back = whitecrow(home, "rollback", "stream", "--reason", "more again", "--json")
    assert (back.json["version"], back.json["policy_version"]) == ("1", "1")
    assert store.resolve("stream").policy_version == "1"


def test_without_a_number_the_newest_policy_is_promoted(whitecrow, home) -> None:
    done = whitecrow(home, "promote", "stream:1", "--reason", "newest", "--json")

    assert done.json["policy_version"] == "2"


def test_the_ledger_tells_what_was_made_of_what(recalibrated) -> None:
    home, answer = recalibrated
    ledger = Ledger(home / "whitecrow.db")
    entry = ledger.entries()[answer["ledger_sequence"] - 1]

    assert (entry.event, entry.subject, entry.actor) == ("policy_created", "stream", "bo")
    assert entry.details["policy_id"] == answer["policy_id"]
    assert entry.details["key_id"] == answer["key_id"]
    assert entry.details["thresholds"] == answer["thresholds"]
    assert ledger.verify() == len(ledger.entries())


def test_mlflow_links_the_policy_to_the_model_version(recalibrated, tmp_path) -> None:
    home, answer = recalibrated
    uri = f"sqlite:///{home / 'mlflow.db'}"
    client = MlflowClient(uri, uri)
    version = client.get_model_version("stream", "1")
    run = client.get_run(answer["mlflow_run_id"])

    assert version.tags["whitecrow.policy_version"] == "2"
    assert version.tags["whitecrow.policy.2.run_id"] == answer["mlflow_run_id"]
    assert version.tags["whitecrow.policy.1.run_id"] == version.run_id
    assert run.data.tags["mlflow.parentRunId"] == version.run_id
    assert run.data.tags["whitecrow.policy_id"] == answer["policy_id"]
    assert run.data.tags["whitecrow.reason"] == "fewer alerts"
    assert json.loads(run.data.params["review"])["max_fpr"] == 0.05
    assert run.data.metrics["review_threshold"] == answer["thresholds"]["review"]["threshold"]
    logged = client.download_artifacts(run.info.run_id, "policy.json", str(tmp_path))
    assert json.loads(Path(logged).read_text())["policy_id"] == answer["policy_id"]


def test_the_preview_adds_up(recalibrated) -> None:
    _, answer = recalibrated
    rows = pl.read_parquet(answer["preview_rows"])
    told = json.loads(Path(answer["preview_table"]).read_text())
    is_alert = pl.col("new_decision") > 0

    assert told["total"]["new"]["alerts"] == rows.filter(is_alert).height
    assert told["total"]["new"]["caught"] == rows.filter(is_alert & (pl.col("label") == 1)).height
    assert told["total"]["new"]["missed_amount"] == pytest.approx(
        rows.filter(~is_alert & (pl.col("label") == 1))["amount"].sum()
    )
    n_flipped = rows.filter(pl.col("old_decision") != pl.col("new_decision")).height
    assert sum(flip["rows"] for flip in told["flips"]) == n_flipped > 0
    by_mode = [each for each in told["segments"] if each["column"] == "ENTRY_MODE"]
    assert sum(each["rows"] for each in by_mode) == rows.height
    page = Path(answer["preview"]).read_text()
    assert "whitecrow promote stream:1 --policy 2" in page
    assert "which is live" in page


def test_newer_data_calibrate_with_the_rows_after_the_training(
    whitecrow, home, frame, newer
) -> None:
    store = ModelStore(home)
    bundle = store.bundle("stream", "1")
    cut_off = bundle.manifest.fitted_until
    assert cut_off is not None
    done = whitecrow(home, "recalibrate", "stream", newer, "--reason", "newer rows", "--json")

    assert done.code == 0, done.err
    is_new = pl.col("TX_DATETIME") > cut_off
    is_known = pl.col("TX_DATETIME") + timedelta(days=14) <= frame["TX_DATETIME"].max()
    calibration = done.json["calibration"]
    assert calibration["rows"] == frame.filter(is_new & is_known).height
    assert calibration["left_out"] == {
        "no newer than the training": frame.slice(1).filter(~is_new).height,
        "breaking a row rule": 0,
        "without a known label": frame.filter(is_new & ~is_known).height,
    }
    assert calibration["fingerprint"] == sha256_file(newer)
    events = [entry.event for entry in Ledger(home / "whitecrow.db").entries("simulated_stream")]
    assert events.count("test_rows.read") == 2  # the training's own, and this one


def test_logits_of_newer_rows_are_those_that_are_served(trained, newer) -> None:
    store = trained.store
    bundle = store.bundle("stream", "1")
    rows = calibration_rows(store, bundle, "1", str(newer))
    kept = pl.read_parquet(store.kept("stream", "1", CALIBRATION_FILE) or "")
    both = kept.join(rows.frame, on="row_id", suffix="_new")

    assert both.height > 1_000
    np.testing.assert_allclose(both["logit_positive"], both["logit_positive_new"], atol=1e-5)


def test_history_is_the_past_of_rows_that_come_without_it(trained, frame, newer, tmp_path) -> None:
    bundle = trained.store.bundle("stream", "1")
    begins = frame["TX_DATETIME"].max() - timedelta(days=40)
    is_late = pl.col("TX_DATETIME") > begins
    frame.slice(1).filter(is_late).write_parquet(tmp_path / "late.parquet")
    frame.slice(1).filter(~is_late).write_parquet(tmp_path / "early.parquet")

    def logits(data: Path, **more: str) -> pl.DataFrame:
        rows = calibration_rows(trained.store, bundle, "1", str(data), **more).frame
        return rows.filter(pl.col("event_time") > begins).select("row_id", "logit_positive")

    whole = logits(newer)
    assert logits(tmp_path / "late.parquet", history=str(tmp_path / "early.parquet")).equals(whole)
    assert not logits(tmp_path / "late.parquet").equals(whole)


def test_a_known_base_rate_moves_scores_and_no_decision_by_false_positives(
    whitecrow, home, stream, policy_file
) -> None:
    plain = whitecrow(
        home, "recalibrate", "stream", stream, "--policy", policy_file(), "--reason", "x", "--json"
    )
    rare = whitecrow(
        home, "recalibrate", "stream", stream, "--reason", "x", "--json",
        "--policy", policy_file(MAX_FPR + "prior = {base_rate = 0.001}\n"),
    )  # fmt: skip

    assert rare.code == 0, rare.err
    assert rare.json["impact"]["new"] == plain.json["impact"]["new"]
    assert (
        rare.json["thresholds"]["review"]["threshold"]
        < (plain.json["thresholds"]["review"]["threshold"])
    )


def test_an_anchor_keeps_the_false_positive_rates_of_another_policy(whitecrow, home, newer) -> None:
    store = ModelStore(home)
    old = store.policy("stream", "2").thresholds

    done = whitecrow(
        home, "recalibrate", "stream", newer, "--anchor", "2", "--reason", "x", "--json"
    )

    assert done.code == 0, done.err
    new = store.policy("stream", "3").thresholds
    for word in ("review", "decline"):
        kept, was = (getattr(each, word).achieved.false_positive_rate for each in (new, old))
        assert kept == pytest.approx(was, abs=0.003)
    assert "Anchored at the false-positive rate" in new.review.reason


def test_thresholds_by_segment_are_told_with_their_intervals(
    whitecrow, home, newer, policy_file
) -> None:
    done = whitecrow(
        home, "recalibrate", "stream", newer, "--reason", "x", "--json",
        "--policy", policy_file(MAX_FPR + 'segments = ["ENTRY_MODE"]\n'),
    )  # fmt: skip

    assert done.code == 0, done.err
    policy = ModelStore(home).policy("stream", "3")
    assert policy.segment_columns == ("ENTRY_MODE",)
    told = done.json["thresholds"]["review"]["segments"]
    assert {each["segment"] for each in told} <= {
        "contactless", "chip", "magstripe", "ecommerce", "card_on_file",
    }  # fmt: skip
    page = Path(done.json["preview"]).read_text()
    assert all(f"<td>{each['segment']}</td>" in page for each in told)
    assert {each["column"] for each in json.loads(Path(done.json["preview_table"]).read_text())[
        "segments"
    ]} == {"ENTRY_MODE"}  # fmt: skip


@pytest.mark.parametrize(
    "lines",
    [
        '[post_processing]\nkind = "class_dependent"\ngamma = 0.5',
        '[post_processing]\nkind = "class_dependent"',
        '[post_processing]\nkind = "logit_adjustment"\ntau = 1.0',
        '[post_processing]\nkind = "temperature"',
    ],
)
def test_post_processing_is_what_the_file_says(whitecrow, home, stream, policy_file, lines) -> None:
    done = whitecrow(
        home, "recalibrate", "stream", stream, "--policy", policy_file(f"{MAX_FPR}{lines}\n"),
        "--reason", "x", "--json",
    )  # fmt: skip

    assert done.code == 0, done.err
    assert done.json["post_processing"] in lines
    load_scorer(ModelStore(home), "stream:1")


def test_for_people_it_says_what_to_do_next(whitecrow, home, stream) -> None:
    done = whitecrow(home, "recalibrate", "stream", stream, "--reason", "look")

    assert "Next: whitecrow promote stream:1 --policy 3" in done.out
    assert "Alerts a day" in done.out
    assert "Preview: " in done.out

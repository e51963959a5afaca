"""A file's scores are the service's answers are the evaluation's scores, bit for bit."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import polars as pl
import pytest

from features.ingestion.conforming import conform
from flows.fitting import as_arrays, rows_of
from flows.recalibration import read_policy
from flows.run_folder import RunFolder
from serving.launch import free_port, running_service, wait_until_ready
from serving.requests import request_rows

pytestmark = pytest.mark.xdist_group("trained")


@pytest.fixture(scope="module")
def scored(whitecrow, trained, tmp_path_factory) -> pl.DataFrame:
    out = tmp_path_factory.mktemp("scored") / "scored.parquet"
    done = whitecrow(
        trained.home, "score", trained.stream, "--model", "stream", "-o", out, "--json"
    )
    assert done.code == 0, done.err
    assert done.json["rows"] == sum(done.json["decisions"].values()) == 20_000
    return pl.read_parquet(out)


def test_every_row_is_answered_in_order(scored, frame) -> None:
    assert scored["id"].to_list() == frame["TRANSACTION_ID"].cast(pl.String).to_list()
    assert scored.select("model_version", "policy_version").unique().rows() == [("1", "1")]
    assert scored.columns == [
        "id", "risk_score", "decision", "reasons", "flags", "model_version", "policy_version",
    ]  # fmt: skip


def test_the_service_gives_the_same_answers(whitecrow, trained, scored, frame, tmp_path) -> None:
    """A file with its past, and requests one by one after a backfill, across a restart."""
    newest = frame.tail(60)
    moment = newest["TX_DATETIME"][0] - timedelta(microseconds=1)
    state = tmp_path / "state.db"
    done = whitecrow(
        trained.home, "backfill", trained.stream, "-c", "simulated_stream",
        "--as-of", moment.isoformat(), "--state", state, "--json",
    )  # fmt: skip
    bundle = trained.store.bundle("stream", "1")
    rows = request_rows(
        conform(newest, bundle.contract), bundle.contract, bundle.feature_set.input_types
    )
    reports = [
        {"id": row["TRANSACTION_ID"], "label": 1, "reported_at": row["REPORTED_AT"].isoformat()}
        for row in frame.filter(pl.col("REPORTED_AT") > moment).iter_rows(named=True)
    ]

    with served(trained.home, state) as client:
        reported = client.post("/v1/labels", json={"labels": reports}).json()
        answers = [client.post("/v1/score", json=row).json() for row in rows[:25]]
    with served(trained.home, state) as client:
        batch = client.post("/v1/score/batch", json={"rows": rows[20:]}).json()["results"]

    assert done.code == 0, done.err
    assert done.json["proof"]["holds"]
    assert reported["accepted"] + reported["unknown"] == len(reports) > 0
    expected = scored.tail(60)
    for name in ("id", "risk_score", "decision", "reasons", "flags"):
        assert [answer[name] for answer in answers] == expected[name][:25].to_list()
        assert [answer[name] for answer in batch] == expected[name][20:].to_list()


@contextmanager
def served(home: Path, state: Path) -> Iterator[httpx.Client]:
    """A server for the model, on a state of its own."""
    port = free_port()
    with (
        state.with_suffix(".log").open("ab") as log,
        running_service(("stream",), port=port, home=home, state_uri=str(state), log=log.fileno()),
    ):
        url = f"http://127.0.0.1:{port}"
        wait_until_ready(url, timeout=90)
        with httpx.Client(base_url=url, timeout=20) as client:
            yield client


def test_newer_rows_with_their_history_score_as_one_table(
    whitecrow, trained, scored, frame, tmp_path
) -> None:
    out, alone = tmp_path / "out.parquet", tmp_path / "alone.parquet"
    frame.head(19_000).write_parquet(tmp_path / "before.parquet")
    frame.tail(1_200).write_parquet(tmp_path / "new.parquet")  # 200 rows are in both
    model = ("-m", "stream", "--no-reasons", "-o")

    done = whitecrow(
        trained.home, "score", tmp_path / "new.parquet", *model, out,
        "--history", tmp_path / "before.parquet",
    )  # fmt: skip
    without = whitecrow(trained.home, "score", tmp_path / "new.parquet", *model, alone)

    assert done.code == 0, done.err
    assert "--history" not in done.err
    assert "bring earlier rows with --history" in without.err
    assert pl.read_parquet(out)["risk_score"].equals(scored["risk_score"].tail(1_200))
    assert not pl.read_parquet(alone)["risk_score"].equals(scored["risk_score"].tail(1_200))


def test_evaluation_used_the_same_scores(trained, scored) -> None:
    from balancing.inference import OnnxModel
    from flows.featurization import read_features

    (features,) = (trained.home / "features").iterdir()
    table, feature_set = read_features(features)
    test = table[rows_of(table, "test")]
    arrays, run = as_arrays(test, feature_set), RunFolder(trained.run)
    logits = OnnxModel(run.onnx, threads=2).logits(arrays.numeric, arrays.categorical)
    by_id = scored.select(row_id="id", risk_score="risk_score")
    served = test.select("row_id").join(by_id, on="row_id", maintain_order="left")

    assert served["risk_score"].to_list() == read_policy(run).apply(logits).risk_score.tolist()
    judged = json.loads(run.evaluation.read_text())["report"]
    assert judged["n_rows"] == test.height


def test_without_labels_a_table_scores_the_same_until_labels_would_be_known(
    whitecrow, trained, scored, frame, tmp_path
) -> None:
    bare = frame.drop("TX_FRAUD", "TX_FRAUD_SCENARIO", "REPORTED_AT")
    bare.write_csv(tmp_path / "bare.csv")
    out = tmp_path / "out.parquet"

    done = whitecrow(trained.home, "score", tmp_path / "bare.csv", "-m", "stream:1", "-o", out)

    assert done.code == 0, done.err
    assert "no labels" in done.err
    is_early = frame["TX_DATETIME"] < frame["TX_DATETIME"][0] + timedelta(days=14)
    assert pl.read_parquet(out).filter(is_early).equals(scored.filter(is_early))
    assert not pl.read_parquet(out)["risk_score"].equals(scored["risk_score"])


def test_scores_without_reasons_are_the_same_scores(whitecrow, trained, scored, tmp_path) -> None:
    out = tmp_path / "out.parquet"

    whitecrow(trained.home, "score", trained.stream, "-m", "stream", "-o", out, "--no-reasons")

    assert pl.read_parquet(out)["risk_score"].equals(scored["risk_score"])


def test_scoring_by_an_unknown_model_is_one_line(whitecrow, trained, tmp_path) -> None:
    done = whitecrow(
        trained.home, "score", trained.stream, "-m", "nope", "-o", tmp_path / "o.parquet", "--json"
    )

    assert done.code == 2
    assert "there are: stream" in done.error
    assert done.json == {"error": {"message": done.error}}
    assert not (tmp_path / "o.parquet").exists()


def test_scoring_into_nowhere_is_one_line(whitecrow, trained, tmp_path) -> None:
    (tmp_path / "file").touch()

    done = whitecrow(
        trained.home, "score", trained.stream, "-m", "stream", "-o", tmp_path / "file" / "o.parquet"
    )

    assert done.code == 2
    assert "Not a directory" in done.error or "File exists" in done.error

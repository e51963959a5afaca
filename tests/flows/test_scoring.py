"""A file's scores are the service's answers are the evaluation's scores, bit for bit."""

import json
from pathlib import Path

import httpx
import polars as pl
import pytest

from features.ingestion.conforming import conform
from flows.recalibration import read_policy
from flows.run_folder import RunFolder
from flows.training import as_arrays, rows_of
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


def test_the_service_gives_the_same_answers(trained, scored, frame, tmp_path: Path) -> None:
    bundle, port = trained.store.bundle("stream", "1"), free_port()
    chosen = frame.gather_every(400)
    rows = request_rows(
        conform(chosen, bundle.contract), bundle.contract, bundle.feature_set.input_types
    )
    with (
        (tmp_path / "service.log").open("wb") as log,
        running_service(("stream",), port=port, home=trained.home, log=log.fileno()),
    ):
        url = f"http://127.0.0.1:{port}"
        wait_until_ready(url, timeout=90)
        answers = [httpx.post(f"{url}/v1/score", json=row, timeout=20).json() for row in rows]
        batch = httpx.post(f"{url}/v1/score/batch", json={"rows": rows}, timeout=20).json()

    expected = scored.gather_every(400)
    assert len(rows) == 50
    for name in ("id", "risk_score", "decision", "reasons", "flags"):
        assert [answer[name] for answer in answers] == expected[name].to_list()
        assert [answer[name] for answer in batch["results"]] == expected[name].to_list()


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


def test_a_table_without_the_label_scores_the_same(
    whitecrow, trained, scored, frame, tmp_path
) -> None:
    bare = frame.drop("TX_FRAUD", "TX_FRAUD_SCENARIO", "REPORTED_AT")
    bare.write_csv(tmp_path / "bare.csv")

    out = tmp_path / "out.parquet"

    done = whitecrow(trained.home, "score", tmp_path / "bare.csv", "-m", "stream:1", "-o", out)

    assert done.code == 0, done.err
    assert pl.read_parquet(out).equals(scored)


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

"""Real trainings on poisoned data, and what the gate says of what came out."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from mlflow import MlflowClient

from infra.ledger import Ledger
from infra.storage import sha256_file
from serving.model_store import ModelStore

pytestmark = [pytest.mark.xdist_group("trained"), pytest.mark.timeout(900)]

RULE = """
on_pass = "promote"
max_latency_ratio = 50.0
"""


@pytest.fixture(scope="module")
def rule(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("rule") / "rule.toml"
    path.write_text(RULE)
    return path


@pytest.fixture(scope="module")
def challenged(train, trained, tmp_path_factory) -> Callable[[pl.DataFrame], Path | None]:
    """Trains a challenger on a table; returns its state folder, None where that was refused."""

    def made(table: pl.DataFrame) -> Path | None:
        folder = tmp_path_factory.mktemp("poisoned")
        home = Path(shutil.copytree(trained.home, folder / "home"))
        table.write_parquet(folder / "poisoned.parquet")
        done = train(home, folder / "poisoned.parquet", "--name", "stream", "--reason", "poisoned")
        print(done.err[-500:])
        return home if done.code == 0 else None

    return made


def with_labels_elsewhere(frame: pl.DataFrame) -> pl.DataFrame:
    """The same number of positives, on other rows."""
    order = np.random.default_rng(0).permutation(frame.height)
    return frame.with_columns(TX_FRAUD=frame["TX_FRAUD"].gather(order))


@pytest.fixture(scope="module")
def flipped(challenged, frame) -> Path:
    home = challenged(with_labels_elsewhere(frame))
    assert home is not None
    return home


def test_flipped_labels_are_kept_out_and_mlflow_has_page_json_and_tags(
    whitecrow, flipped, stream, rule, tmp_path
) -> None:
    home = Path(shutil.copytree(flipped, tmp_path / "home"))

    done = whitecrow(home, "judge", "stream", "--data", stream, "--rule", rule, "--json")

    verdict = done.json
    assert (done.code, verdict["outcome"]) == (1, "keep")
    failed = [check["name"] for check in verdict["checks"] if check["passed"] is False]
    assert "min_average_precision_gain" in failed
    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}", f"sqlite:///{home / 'mlflow.db'}")
    version = client.get_model_version("stream", "2")
    assert version.tags["whitecrow.gate.verdict"] == "keep"
    assert version.tags["whitecrow.gate.at"] == verdict["at"]
    assert version.tags["whitecrow.gate.policy_version"] == "2"
    assert verdict["mlflow_run_id"] == version.run_id
    folder = f"gate/{Path(verdict['page']).parent.name}"
    logged = [each.path for each in client.list_artifacts(version.run_id, folder)]
    assert logged == [f"{folder}/gate.html", f"{folder}/gate.json"]
    entries = Ledger(home / "whitecrow.db").entries("stream")
    assert entries[-1].details["evidence_sha256"] == sha256_file(verdict["table"])
    assert json.loads(Path(verdict["table"]).read_text())["outcome"] == "keep"
    assert whitecrow(home, "promote", "stream:2", "--reason", "x").code == 1


def test_the_better_one_comes_back_and_tags_tell_who_reigned_when(
    whitecrow, flipped, stream, rule, tmp_path
) -> None:
    home = Path(shutil.copytree(flipped, tmp_path / "home"))
    assert whitecrow(home, "promote", "stream:2", "--reason", "by mistake").code == 0

    done = whitecrow(
        home, "judge", "stream", "--data", stream, "--rule", rule, "--challenger", "1", "--json"
    )
    assert (done.code, done.json["outcome"]) == (0, "promote"), done.json["says"]
    assert whitecrow(home, "promote", "stream:1", "--reason", "better").code == 0

    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}", f"sqlite:///{home / 'mlflow.db'}")
    first, second = (client.get_model_version("stream", each).tags for each in ("1", "2"))
    assert ModelStore(home).resolve("stream").model_version == "1"
    assert "whitecrow.champion_until" not in first
    assert first["whitecrow.champion_from"] == second["whitecrow.champion_until"]
    assert second["whitecrow.champion_from"] <= second["whitecrow.champion_until"]
    assert first["whitecrow.live_policy"] == "1"


def test_a_constant_column_stops_at_validation_and_the_line_has_a_way_out(
    train, trained, frame, tmp_path
) -> None:
    home = Path(shutil.copytree(trained.home, tmp_path / "home"))
    # Where the mean was: no other rule sees it.
    constant = frame.with_columns(TX_AMOUNT=frame["TX_AMOUNT"].mean())
    constant.write_parquet(tmp_path / "constant.parquet")

    done = train(home, tmp_path / "constant.parquet", "--name", "stream")

    assert done.code == 1
    assert "varies(TX_AMOUNT) is one value in all rows, expected several values" in done.error
    assert "mend the table, or drop the column in the contract" in done.error
    assert ModelStore(home).versions("stream") == ["1"]


def test_before_there_is_a_version_a_constant_column_is_named(command, frame, tmp_path) -> None:
    table = tmp_path / "constant.parquet"
    frame.with_columns(TX_AMOUNT=pl.lit(20.0)).write_parquet(table)

    done = command(tmp_path / "home", "validate", table, "-c", "simulated_stream", "--json")

    assert done.code == 0, done.err
    (line,) = (line for line in done.err.splitlines() if "WARNING" in line)
    assert "no more than one value in all 20,000 rows" in line
    assert line.endswith("under [columns] drop in the contract: TX_AMOUNT")


def test_of_a_doubled_file_validation_leaves_each_row_once(command, stream, tmp_path) -> None:
    table = pl.read_parquet(stream)
    doubled = tmp_path / "doubled.parquet"
    pl.concat([table, table]).write_parquet(doubled)

    done = command(tmp_path / "home", "validate", doubled, "-c", "simulated_stream", "--json")

    assert (done.json["read"], done.json["passed"]) == (2 * table.height, table.height)

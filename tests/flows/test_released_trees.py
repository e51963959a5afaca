"""Trees in the place of a network: the same bundle, policy, report and service."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

from infra.storage import sha256_file
from serving.bundle import read_bundle

LIBRARIES = ["lightgbm", "xgboost"]
SMALL = {
    "lightgbm": 'kind = "lightgbm"\nmax_rounds = 60\npatience = 10\npositive_weight = 5.0',
    "xgboost": 'kind = "xgboost"\nmax_rounds = 60\npatience = 10\npositive_weight = 5.0',
}

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Grown:
    """A release of trees."""

    home: Path
    kind: str
    answer: dict

    @property
    def run(self) -> Path:
        """The folder of the run."""
        return Path(self.answer["report"]).parent

    def record(self, name: str) -> dict:
        """What the run wrote."""
        return json.loads((self.run / name).read_text("utf-8"))


@pytest.fixture(scope="module", params=LIBRARIES)
def grown(request, whitecrow, stream, tmp_path_factory) -> Grown:
    """The model ``trees`` version 1, of each library in turn; not to be changed."""
    pytest.importorskip(request.param)
    home = tmp_path_factory.mktemp(request.param)
    config = home / "trees.toml"
    config.write_text(f"few_positives = 10\n[strategy]\n{SMALL[request.param]}")
    done = whitecrow(
        home, "train", stream, "-c", "simulated_stream", "--config", config, "--name", "trees",
        "--include", "trees", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    return Grown(home, request.param, done.json)


def test_trees_are_released_like_a_network(grown):
    manifest = read_bundle(Path(grown.answer["bundle"])).manifest
    training, parity = grown.record("training.json"), grown.record("parity.json")

    assert grown.answer["strategy"] == manifest.strategy["kind"] == grown.kind
    assert grown.answer["champion"]
    assert grown.answer["metrics"]["log_loss_skill"]["value"] > 0
    assert parity["passed"]
    assert 0 < training["how"]["rounds"] <= 60
    assert (manifest.head, training["history"], training["memorisation"]) == (None, [], [])


def test_what_is_a_networks_alone_is_left_out_with_a_line(grown):
    report = Path(grown.answer["report"]).read_text("utf-8")

    assert "no training curve and no memorisation to draw" in report
    assert f"{grown.record('training.json')['how']['rounds']} rounds, chosen by" in report
    drawn = {path.stem for path in (grown.run / "plots").iterdir()}
    assert "precision_recall" in drawn
    assert not drawn & {"training", "memorisation"}


def test_a_file_is_scored_with_reasons_and_without_the_library(grown, frame, tmp_path):
    frame.tail(2_000).write_parquet(tmp_path / "new.parquet")
    frame.head(18_000).write_parquet(tmp_path / "before.parquet")
    out = tmp_path / "out.parquet"
    asked = [
        "whitecrow", "score", str(tmp_path / "new.parquet"), "-m", "trees", "-o", str(out),
        "--history", str(tmp_path / "before.parquet"),
    ]  # fmt: skip
    program = (
        "import sys\n"
        "for name in ('lightgbm', 'xgboost', 'torch', 'onnx'): sys.modules[name] = None\n"
        f"sys.argv = {asked!r}\n"
        "from flows.cli import main; main()"
    )

    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"WHITECROW_HOME": str(grown.home), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    scored = pl.read_parquet(out)
    assert scored["risk_score"].is_between(0, 1).all()
    stopped = scored.filter(pl.col("decision") != "approve")
    assert stopped.height > 0
    assert (stopped["reasons"].list.len() > 0).any()


def test_the_service_answers_as_the_file_was_scored(whitecrow, grown, frame, ask, tmp_path):
    row, out = frame.head(1), tmp_path / "out.parquet"
    row.write_parquet(tmp_path / "row.parquet")
    scored = whitecrow(grown.home, "score", tmp_path / "row.parquet", "-m", "trees", "-o", out)
    assert scored.code == 0, scored.err

    answer = ask(grown.home, "trees", row)

    (expected,) = pl.read_parquet(out).to_dicts()
    assert answer["risk_score"] == expected["risk_score"]
    assert answer["decision"] == expected["decision"]


def test_a_new_policy_is_made_and_tau_normalisation_refused(whitecrow, grown, stream, tmp_path):
    tau = tmp_path / "tau.toml"
    tau.write_text('[post_processing]\nkind = "tau_normalisation"')
    shift = tmp_path / "shift.toml"
    shift.write_text('[post_processing]\nkind = "class_dependent"\ngamma = 0.1')
    asked = (grown.home, "recalibrate", "trees:1", stream, "--reason", "stricter", "--policy")

    done, refused = whitecrow(*asked, shift, "--json"), whitecrow(*asked, tau)

    assert done.code == 0, done.err
    assert done.json["policy_version"] == "2"
    assert refused.code == 2
    assert "tau_normalisation needs a network with a single head" in refused.error


def test_folds_fix_the_rounds_where_positives_are_few(whitecrow, stream, tmp_path):
    pytest.importorskip("lightgbm")
    config = tmp_path / "few.toml"
    config.write_text(f"few_positives = 100000\nn_folds = 2\n[strategy]\n{SMALL['lightgbm']}")

    train = (
        "train", stream, "-c", "simulated_stream", "--config", config, "--include", "trees",
        "--json",
    )  # fmt: skip
    done, again = (whitecrow(tmp_path / home, *train) for home in ("home", "other"))

    assert done.code == 0, done.err
    training = json.loads((Path(done.json["report"]).parent / "training.json").read_text())
    assert training["how"]["by"] == "2 folds, then all rows"
    assert 0 < training["how"]["rounds"] <= 60
    models = [sha256_file(Path(each.json["bundle"]) / "model.onnx") for each in (done, again)]
    assert models[0] == models[1]


def test_a_search_may_choose_trees(whitecrow, stream, tiny, tmp_path):
    pytest.importorskip("lightgbm")
    config = tmp_path / "auto.toml"
    unlearnt = tiny.read_text() + "learning_rate = 1e-9\n"
    config.write_text(unlearnt + '[search]\nmembers = ["erm"]\nn_trials = 1')

    done = whitecrow(
        tmp_path / "home", "train", stream, "-c", "simulated_stream", "--config", config,
        "--strategy", "auto", "--search-budget", "2", "--include", "trees", "--json",
    )  # fmt: skip

    assert done.code == 0, done.err
    found = json.loads((Path(done.json["report"]).parent / "search" / "search.json").read_text())
    assert {each["candidate"] for each in found["tried"]} == {"erm", "lightgbm", "xgboost"}
    assert found["strategy"]["kind"] == done.json["strategy"] in LIBRARIES

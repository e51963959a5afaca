"""A user's own model, trained on what featurize writes, registered, served and given a policy."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from balancing.rivals.export import trees_onnx_bytes
from balancing.rivals.lightgbm_trees import lightgbm_trees
from features.feature_set import FeatureSet
from infra.ledger import Ledger
from infra.settings import Settings
from infra.storage import sha256_file
from serving.bundle import read_bundle

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def featurized(whitecrow, stream, tmp_path_factory) -> tuple[np.ndarray, np.ndarray]:
    """Matrix and labels of the training part, put together as README says."""
    folder = tmp_path_factory.mktemp("mine")
    done = whitecrow(
        folder / "home", "featurize", stream, "-c", "simulated_stream",
        "-o", folder / "features.parquet",
    )  # fmt: skip
    assert done.code == 0, done.err
    written = json.loads((folder / "features.feature_set.json").read_text("utf-8"))
    feature_set = FeatureSet.from_json(written)
    rows = pl.read_parquet(folder / "features.parquet").filter(pl.col("part") == "train")
    arrays = feature_set.encode(rows)
    matrix = np.hstack([arrays.numeric, arrays.categorical]).astype(np.float32)
    assert matrix.shape[1] == len(feature_set.names)
    return matrix, rows["label"].to_numpy()


def _from_torch(path: Path, matrix: np.ndarray, label: np.ndarray) -> None:
    """Train logistic regression on filled and squashed columns, and export its probability."""
    import torch

    class Mine(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("centre", torch.from_numpy(np.nanmean(matrix, axis=0)))
            self.register_buffer("scale", torch.from_numpy(np.nanstd(matrix, axis=0) + 1e-3))
            self.line = torch.nn.Linear(matrix.shape[1], 1)

        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            filled = torch.where(torch.isnan(rows), self.centre, rows)
            return torch.sigmoid(self.line(torch.tanh((filled - self.centre) / self.scale)))

    torch.manual_seed(0)
    mine, rows = Mine(), torch.from_numpy(matrix)
    wanted = torch.from_numpy(label.astype(np.float32))[:, None]
    optimizer = torch.optim.Adam(mine.parameters(), lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        torch.nn.functional.binary_cross_entropy(mine(rows), wanted).backward()
        optimizer.step()
    torch.onnx.export(
        mine.eval(),
        (rows[:2],),
        path,
        dynamo=True,
        external_data=False,
        verbose=False,
        dynamic_shapes=({0: torch.export.Dim("n_rows")},),
    )


def _from_lightgbm(path: Path, matrix: np.ndarray, label: np.ndarray) -> None:
    lightgbm = pytest.importorskip("lightgbm")
    settings = {"objective": "binary", "verbosity": -1, "num_leaves": 7, "num_threads": 1}
    model = lightgbm.train(settings, lightgbm.Dataset(matrix, label), 40)
    boosted = lightgbm_trees(model, n_rounds=40, shift=0.0)
    path.write_bytes(trees_onnx_bytes(boosted, n_numeric=matrix.shape[1], n_categorical=0))


MAKERS = {
    "torch": (_from_torch, ("--output", "probability"), "probability"),
    "lightgbm": (_from_lightgbm, (), "logits"),
}


@pytest.fixture(params=MAKERS)
def maker(request, featurized, tmp_path) -> str:
    """Which library made ``mine.onnx``."""
    MAKERS[request.param][0](tmp_path / "mine.onnx", *featurized)
    return request.param


@pytest.mark.filterwarnings("ignore")  # of the exporter
def test_a_users_model_is_released_served_and_recalibrated(maker, whitecrow, stream, ask, tmp_path):
    home, path, out = tmp_path / "home", tmp_path / "mine.onnx", tmp_path / "out.parquet"
    _, stated, found = MAKERS[maker]

    done = whitecrow(
        home, "register", path, stream, "-c", "simulated_stream", "--name", "mine", *stated,
        "--actor", "ana", "--reason", "ours is better", "--json",
    )  # fmt: skip

    assert done.code == 0, done.err
    assert done.json["strategy"] == "registered"
    assert done.json["metrics"]["roc_auc"]["value"] > 0.7
    manifest = read_bundle(Path(done.json["bundle"])).manifest
    assert manifest.strategy["sha256"] == sha256_file(path)
    assert manifest.training["how"]["output"] == found
    assert "its owner" in Path(done.json["report"]).read_text("utf-8")
    entries = Ledger(Settings(home=home).database).entries("mine")
    entry = next(each for each in entries if each.event == "registered")
    assert (entry.actor, entry.reason) == ("ana", "ours is better")

    row = pl.read_parquet(stream).head(1)
    row.write_parquet(tmp_path / "row.parquet")
    scored = whitecrow(home, "score", tmp_path / "row.parquet", "-m", "mine", "-o", out)
    assert scored.code == 0, scored.err
    assert ask(home, "mine", row)["risk_score"] == pl.read_parquet(out)["risk_score"][0]
    again = whitecrow(home, "recalibrate", "mine:1", stream, "--reason", "again", "--json")
    assert again.code == 0, again.err
    assert again.json["policy_version"] == "2"


def test_a_bad_file_is_refused_before_the_data_is_read(command, tmp_path):
    (tmp_path / "mine.onnx").write_text("no model")

    done = command(
        tmp_path, "register", tmp_path / "mine.onnx", "absent.parquet", "-c", "loan_data"
    )

    assert done.code == 2
    assert "is not an ONNX model" in done.error


def test_a_model_of_another_width_is_refused_and_nothing_released(whitecrow, stream, tmp_path):
    from onnx import parser, save

    save(
        parser.parse_model(
            '<ir_version: 8, opset_import: ["" : 17]> g (float[N, 3] x) => (float[N, 3] o) '
            "{ o = Neg(x) }"
        ),
        tmp_path / "mine.onnx",
    )

    done = whitecrow(
        tmp_path / "home", "register", tmp_path / "mine.onnx", stream, "-c", "simulated_stream"
    )

    assert done.code == 2
    assert "numbers and 4 codes. Got 3" in done.error
    assert not list((tmp_path / "home").glob("models/*"))

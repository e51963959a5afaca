import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from balancing.export import export_onnx, onnx_bytes
from balancing.inference import OnnxModel
from balancing.networks.mlp import MlpConfig
from balancing.networks.tabm import TabMConfig
from balancing.preprocessing import PiecewiseLinearConfig, StandardiseConfig
from balancing.strategies.erm import Erm, ErmConfig

REPOSITORY = Path(__file__).resolve().parents[2]

NETWORKS = [
    MlpConfig(n_members=1, width=16),
    MlpConfig(n_members=3, width=16),
    MlpConfig(n_members=2, width=16, numeric=PiecewiseLinearConfig(n_bins=8, d_embedding=4)),
    TabMConfig(n_members=4, width=16),
    TabMConfig(n_members=4, width=16, numeric=StandardiseConfig()),
]


def _fit(config, toy, cardinalities):
    return Erm(ErmConfig(network=config)).fit(toy, cardinalities=cardinalities, n_epochs=1)


@pytest.mark.parametrize("config", NETWORKS, ids=lambda c: f"{c.kind}-{c.n_members}")
def test_the_graph_computes_what_the_network_computes(
    config, make_toy, cardinalities, tmp_path: Path
):
    categories = config is not NETWORKS[1]
    toy = make_toy(categories=categories)
    fitted = _fit(config, toy, cardinalities if categories else ())
    path = tmp_path / "model.onnx"

    digest = export_onnx(fitted.network, path, n_numeric=4, n_categorical=toy.categorical.shape[1])
    logits = OnnxModel(path).logits(toy.numeric, toy.categorical)

    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]
    assert np.abs(logits - fitted.logits(toy)).max() < 1e-5
    assert np.array_equal(logits[:, 0], -logits[:, 1])


def test_rows_far_out_keep_finite_logits_in_the_graph(make_toy, tmp_path: Path):
    """Exported naively, the sigmoid of -100 is 0 and its logarithm infinite."""
    toy = make_toy(categories=False)
    fitted = _fit(NETWORKS[1], toy, ())
    with torch.no_grad():
        fitted.network.body.output.weight.mul_(1e4)
    path = tmp_path / "model.onnx"

    export_onnx(fitted.network, path, n_numeric=4, n_categorical=0)
    logits = OnnxModel(path).logits(toy.numeric)

    assert np.abs(logits).max() > 100
    assert np.allclose(logits, fitted.logits(toy), rtol=1e-4, atol=1e-3)


def test_the_graph_names_no_file_and_no_tool(make_toy, cardinalities):
    fitted = _fit(NETWORKS[1], make_toy(), cardinalities)

    model = onnx.load_from_string(onnx_bytes(fitted.network, n_numeric=4, n_categorical=2))

    assert [i.name for i in model.graph.input] == ["numeric", "categorical"]
    assert [o.name for o in model.graph.output] == ["logits"]
    assert model.producer_name == ""
    assert b".py" not in model.SerializeToString()
    assert all(not n.metadata_props and not n.doc_string for n in model.graph.node)


TRAIN_AND_EXPORT = """
import sys
import numpy as np
import torch
torch.set_num_threads(2)
from balancing.dataset import LabelledArrays
from balancing.export import export_onnx
from balancing.strategies.registry import build_strategy, read_strategy
rng = np.random.default_rng(0)
numeric = rng.normal(size=(3000, 4)).astype(np.float32)
codes = rng.integers(0, 50, (3000, 1))
arrays = LabelledArrays(numeric, codes, (numeric[:, 0] > 1).astype(np.int8))
network = {"kind": sys.argv[1], "width": 16, "dropout": 0.1}
config = read_strategy({"kind": "erm", "network": network})
fitted = build_strategy(config).fit(arrays, cardinalities=(50,), n_epochs=2, seed=1)
print(export_onnx(fitted.network, sys.argv[2], n_numeric=4, n_categorical=1))
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mlp", "tabm"])
def test_two_processes_in_two_folders_export_the_same_bits(kind: str, tmp_path: Path):
    """Trained and exported from the repository and from a copy of it elsewhere."""
    copy = tmp_path / "another place"
    for package in ("balancing", "infra"):
        shutil.copytree(REPOSITORY / package, copy / package)

    digests = []
    for source in (REPOSITORY, copy):
        run = subprocess.run(
            [sys.executable, "-c", TRAIN_AND_EXPORT, kind, str(tmp_path / f"{len(digests)}.onnx")],
            cwd=source,
            env={**os.environ, "PYTHONPATH": str(source), "PYTHONSAFEPATH": ""},
            capture_output=True,
            text=True,
            check=True,
        )
        digests.append(run.stdout.strip())

    assert len(digests[0]) == 64
    assert digests[0] == digests[1]

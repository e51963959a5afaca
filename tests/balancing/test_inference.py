import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from balancing.export import onnx_bytes
from balancing.inference import ModelUnreadable, OnnxModel
from balancing.networks.mlp import MlpConfig
from balancing.networks.tabm import TabMConfig
from balancing.preprocessing import PiecewiseLinearConfig
from balancing.strategies.erm import Erm, ErmConfig

NETWORKS = [
    MlpConfig(),
    MlpConfig(n_members=2, numeric=PiecewiseLinearConfig(n_bins=8, d_embedding=4)),
    TabMConfig(n_members=4, width=64),
]


@pytest.fixture(scope="module", params=NETWORKS, ids=lambda c: f"{c.kind}-{c.numeric.kind}")
def content(request: pytest.FixtureRequest, make_toy, cardinalities) -> bytes:
    erm = Erm(ErmConfig(network=request.param))
    fitted = erm.fit(make_toy(), cardinalities=cardinalities, n_epochs=1)
    return onnx_bytes(fitted.network, n_numeric=4, n_categorical=2)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_rows_logits_do_not_depend_on_its_company(content: bytes, threads: int, make_toy):
    """Alone, in small requests, in a file of several chunks, on other threads: the same bits."""
    toy = make_toy(2500, seed=9)
    whole = OnnxModel(content).logits(toy.numeric, toy.categorical)
    model = OnnxModel(content, threads=threads)

    for size in (1, 2, 3, 17, 100, 777):
        rows = range(0, min(2500, 40 * size), size)
        parts = [
            model.logits(toy.numeric[i : i + size], toy.categorical[i : i + size]) for i in rows
        ]
        together = np.concatenate(parts)
        assert np.array_equal(together, whole[: len(together)]), size


def test_an_empty_table_gives_no_logits(content: bytes, make_toy):
    empty = make_toy().take(np.arange(0))

    assert OnnxModel(content).logits(empty.numeric, empty.categorical).shape == (0, 2)


@pytest.mark.parametrize(
    ("numeric", "categorical", "message"),
    [
        ((3, 5), (3, 2), r"numeric must have shape \(n_rows, 4\). Got \(3, 5\)"),
        ((3, 4), (2, 2), r"categorical must have shape \(3, 2\). Got \(2, 2\)"),
        ((3, 4), None, r"categorical must have shape \(3, 2\). Got None"),
    ],
)
def test_inputs_of_another_shape_are_refused(content: bytes, numeric, categorical, message: str):
    codes = None if categorical is None else np.zeros(categorical, np.int64)

    with pytest.raises(ValueError, match=message):
        OnnxModel(content).logits(np.zeros(numeric, np.float32), codes)


@pytest.mark.parametrize("content", [b"", b"no model"])
def test_what_is_no_model_is_refused(content: bytes, tmp_path: Path):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)

    with pytest.raises(ModelUnreadable, match=r"Got .*model.onnx, which does not load"):
        OnnxModel(path)


def test_inference_needs_no_training_package():
    code = (
        "import sys, balancing.inference\n"
        "print(sorted({'torch', 'sklearn', 'scipy', 'pandas', 'onnx'} & set(sys.modules)))"
    )

    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert run.stdout.strip() == "[]"

"""Tracking and registry on a real MLflow server, whose files are its own."""

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from infra.tracking import Tracking

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    # MLflow's own functions, when they are imported.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning"),
]


@pytest.fixture
def server(tmp_path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place, uri = tmp_path / "server", f"http://127.0.0.1:{port}"
    place.mkdir()
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port),
        "--workers", "1", "--backend-store-uri", f"sqlite:///{place / 'mlflow.db'}",
        "--artifacts-destination", str(place / "artifacts"),
    ]  # fmt: skip
    with subprocess.Popen(command, cwd=place, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 300
        while True:
            try:
                urllib.request.urlopen(f"{uri}/health", timeout=5).close()
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.2)
        yield uri
        process.terminate()


@pytest.fixture
def graph(tmp_path) -> Path:
    """A network that hands on its two inputs."""
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 2])
        for name in ("numeric", "logits")
    ]
    node = helper.make_node("Identity", ["numeric"], ["logits"])
    made = helper.make_graph([node], "handed_on", ends[:1], ends[1:])
    onnx.save(
        helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)]),
        path := tmp_path / "model.onnx",
    )
    return path


def test_a_model_is_registered_and_its_files_are_the_servers(server, graph, tmp_path) -> None:
    tracking = Tracking(server, artifact_root=tmp_path / "here")
    run_id = tracking.start_run("cards", run_name="first", tags={"by": "ana"})
    tracking.log_config(run_id, {"seed": 0})
    model_uri = tracking.log_onnx(run_id, graph, n_numeric=2, n_categorical=0)

    version = tracking.register(
        "cards", model_uri=model_uri, run_id=run_id, description="", tags={"state": "staged"}
    )
    tracking.set_alias("cards", "champion", version)

    (known,) = tracking.versions("cards")
    assert (known.version, known.run_id, known.tags["state"]) == (version, run_id, "staged")
    assert not (tmp_path / "here").exists()
    fetched = tracking.client.download_artifacts(run_id, "config.json", str(tmp_path))
    assert Path(fetched).is_file()
    tracking.discard_version("cards", version)
    assert tracking.versions("cards") == []

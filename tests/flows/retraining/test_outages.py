"""Failures from outside: MLflow gone at registration, a full disk, Ctrl-C. The champion serves."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from infra.ledger import Ledger
from serving.live import CHALLENGER
from serving.model_references import ResolvedModel
from tests.flows.retraining.conftest import WINDOW, Home, kill, wait_for
from tests.flows.test_full_disk import small_disk

__all__ = ["small_disk"]  # a fixture

pytestmark = [pytest.mark.xdist_group("trained"), pytest.mark.slow, pytest.mark.timeout(1800)]

SPARE_MIB = 24


@pytest.fixture
def mlflow_server(home) -> Iterator[Callable[[], tuple[str, subprocess.Popen[bytes]]]]:
    """Starts an MLflow server on the state folder's own database, on one port again and again."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started: list[subprocess.Popen[bytes]] = []
    uri = f"http://127.0.0.1:{port}"
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port),
        "--workers", "1", "--backend-store-uri", f"sqlite:///{home.path / 'mlflow.db'}",
        "--artifacts-destination", str(home.path / "mlartifacts"),
    ]  # fmt: skip

    def start() -> tuple[str, subprocess.Popen[bytes]]:
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        started.append(process)
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"{uri}/health", timeout=5) as answer:
                    if answer.status == 200:
                        return uri, process
            except OSError:
                time.sleep(0.2)
        raise TimeoutError(f"no MLflow server at {uri}")

    yield start
    for process in started:
        kill(process)


def _fill(path: Path) -> None:
    """Write until the disk is full."""
    with suppress(OSError), path.open("wb", buffering=0) as stream:
        while stream.write(bytes(1 << 12)):
            pass


def _finished(home: Home, step: str) -> bool:
    return any((run / "steps" / f"{step}.json").is_file() for run in home.runs)


def test_mlflow_gone_at_registration_leaves_nothing_half_registered(
    start, home, trained, mlflow_server
) -> None:
    uri, server = mlflow_server()
    away = {"WHITECROW_TRACKING_URI": uri, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
    command = ("retrain", "stream", "--data", trained.stream, *WINDOW, "--device", "cpu", "--json")
    process = start(home.path, *command, **away)
    wait_for(lambda: _finished(home, "evaluate"), process, 900)
    kill(server)
    out, err = process.communicate(timeout=600)

    failed = json.loads(out)["error"]["message"]
    assert process.returncode == 2, err
    assert "Traceback" not in err
    assert f"stopped at the step 'log': MLflow at {uri} does not answer: " in failed
    assert failed.endswith(
        "Version 1 with policy 1 goes on serving. To go on: whitecrow retrain stream --resume"
    )
    assert home.store.versions("stream") == home.registered == ["1"]

    mlflow_server()
    again = start(home.path, "retrain", "stream", "--resume", "--json", **away)
    out, err = again.communicate(timeout=900)

    assert json.loads(out).get("version") == "2", err
    home.require_whole(versions=["1", "2"])


def test_a_full_disk_is_one_line_and_more_space_lets_it_go_on(
    small_disk, start, home, trained
) -> None:
    used = sum(path.stat().st_size for path in home.path.rglob("*") if path.is_file())
    place = small_disk(f"{used // 2**20 + SPARE_MIB}M")
    moved = Home(Path(shutil.copytree(home.path, place / "home")))
    ballast = place / "ballast"
    command = ("retrain", "stream", "--data", trained.stream, *WINDOW, "--device", "cpu", "--json")
    process = start(moved.path, *command)
    wait_for(lambda: _finished(moved, "validate"), process, 900)
    _fill(ballast)
    out, err = process.communicate(timeout=600)

    failed = json.loads(out)["error"]["message"]
    assert process.returncode == 2, err
    assert "space" in failed or "full" in failed
    # On a disk without a byte left not even the live record can be read.
    assert "goes on serving. To go on: whitecrow retrain stream --resume" in failed
    assert "Traceback" not in err

    ballast.unlink()
    assert moved.store.resolve("stream") == ResolvedModel("stream", "1", "1")
    assert moved.store.versions("stream") == ["1"]
    out, err = start(moved.path, "retrain", "stream", "--resume", "--json").communicate(timeout=900)

    assert json.loads(out).get("version") == "2", err
    moved.require_whole(versions=["1", "2"])


def test_ctrl_c_is_one_line_and_the_run_can_go_on(start, home, trained) -> None:
    command = ("retrain", "stream", "--data", trained.stream, *WINDOW, "--device", "cpu", "--json")
    process = start(home.path, *command)
    wait_for(lambda: _finished(home, "featurize"), process, 900)

    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=120)

    assert process.returncode == 130, err
    told = json.loads(out)["error"]["message"]
    assert told == (
        "Interrupted. What answers requests is as it was. "
        "To go on: whitecrow retrain stream --resume"
    )
    assert "Traceback" not in err
    failed = Ledger(home.path / "whitecrow.db").entries("stream")[-1]
    assert (failed.event, failed.details["why"]) == ("retrain.failed", "interrupted")
    run_id = json.loads((home.runs[0] / "run.json").read_text())["mlflow_run_id"]
    assert home.client.get_run(run_id).info.status == "KILLED"
    assert home.store.versions("stream") == ["1"]


LENIENT = """
min_rows = 1
min_positives = 1
min_average_precision_gain = -1.0
min_objective_gain = -1.0
min_caught_gain = -1.0
max_calibration_slope_deviation = 100.0
max_alert_volume_ratio = 100.0
max_segment_loss = 1.0
max_latency_ratio = 100.0
on_pass = "promote"
"""


def test_a_rule_that_says_so_promotes_what_passes_the_gate(whitecrow, home, trained) -> None:
    (home.path / "gates").mkdir()
    (home.path / "gates" / "stream.toml").write_text(LENIENT)
    command = ("retrain", "stream", "--data", trained.stream, *WINDOW, "--device", "cpu", "--json")

    done = whitecrow(home.path, *command, "--actor", "bo")

    assert done.code == 0, done.err
    assert (done.json["verdict"], done.json["champion"]) == ("promote", True)
    assert home.store.resolve("stream") == ResolvedModel("stream", "2", "2")
    assert home.store.live.get("stream", alias=CHALLENGER) is None
    told = home.events("gated", "promoted.intent", "promoted.done", "retrain.finished")
    assert told[-4:] == ["gated", "promoted.intent", "promoted.done", "retrain.finished"]
    intent = [e for e in home.ledger.entries("stream") if e.event == "promoted.intent"][-1]
    assert intent.actor == "bo"
    # The new champion's contract and configuration are the old one's: the window was trained.
    assert whitecrow(home.path, *command).json == done.json | {"is_repeated": True}

"""Ctrl-C, a killed process and a full disk leave nothing half registered."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import psutil
import pytest

from infra.ledger import Ledger
from serving.model_store import ModelStore

pytestmark = pytest.mark.xdist_group("processes")

ENDLESS = "[strategy.training]\nmax_epochs = 100000\npatience = 100000\n"
FULL_DISK = """
import resource, sys
from flows.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)),) * 2)
main()
"""


def _command(home: Path, *arguments: object, code: str | None = None) -> subprocess.Popen[str]:
    start = ["-c", code or "from flows.cli import main; main()"]
    return subprocess.Popen(
        [sys.executable, *start, *map(str, arguments)],
        env={**os.environ, "WHITECROW_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.fixture
def endless(stream, tmp_path) -> Iterator[Callable[[Path], subprocess.Popen[str]]]:
    """Starts a training without end and returns in the middle of it."""
    started: list[subprocess.Popen[str]] = []
    (tmp_path / "endless.toml").write_text(ENDLESS)

    def start(home: Path) -> subprocess.Popen[str]:
        process = _command(
            home, "train", stream, "-c", "simulated_stream", "--config", tmp_path / "endless.toml",
            "--device", "cpu", "--json",
        )  # fmt: skip
        started.append(process)
        deadline = time.monotonic() + 240
        while not list(home.glob("features/*/table.parquet")):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        time.sleep(2)
        return process

    yield start
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def _statuses(home: Path) -> list[str]:
    with closing(sqlite3.connect(home / "mlflow.db")) as connection:
        return [status for (status,) in connection.execute("SELECT status FROM runs")]


def _registered(home: Path) -> list[str]:
    return [entry.event for entry in Ledger(home / "whitecrow.db").entries()]


def test_ctrl_c_ends_a_training_at_once_and_registers_nothing(endless, tmp_path) -> None:
    home = tmp_path / "home"
    process = endless(home)

    # To every process of the command, as a terminal does.
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=30)

    assert process.returncode == 130
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert errors == ["error: Interrupted. Nothing was registered or released."]
    assert "Traceback" not in err
    assert json.loads(out) == {"error": {"message": errors[0].removeprefix("error: ")}}
    assert _statuses(home) == ["KILLED"]
    assert ModelStore(home).names() == []
    assert not list(home.glob("models/*/.*"))
    assert "registered" not in _registered(home)


@pytest.mark.slow
def test_sigterm_ends_a_training_with_all_that_it_has_started(endless, tmp_path) -> None:
    """As a container does that ends: only the command itself is told."""
    home = tmp_path / "home"
    process = endless(home)
    started = psutil.Process(process.pid).children(recursive=True)
    assert started

    process.terminate()
    _, err = process.communicate(timeout=60)

    assert process.returncode == 130
    assert "error: Interrupted. Nothing was registered or released." in err
    _, alive = psutil.wait_procs(started, timeout=20)
    assert alive == []
    assert _statuses(home) == ["KILLED"]


def test_after_a_kill_the_next_training_works(endless, train, stream, tmp_path) -> None:
    home = tmp_path / "home"
    process = endless(home)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    assert ModelStore(home).names() == []

    done = train(home, stream)

    assert done.code == 0, done.err
    assert (done.json["version"], done.json["champion"]) == ("1", True)
    assert ModelStore(home).versions("simulated_stream") == ["1"]


@pytest.mark.parametrize("limit", [2_000])
def test_a_full_disk_is_one_line_and_leaves_the_champion(
    train, tiny, stream, tmp_path, limit
) -> None:
    home = tmp_path / "home"
    first = train(home, stream)
    assert first.code == 0, first.err

    process = _command(
        home, limit, "train", stream, "-c", "simulated_stream", "--config", tiny, "--json",
        code=FULL_DISK,
    )  # fmt: skip
    out, err = process.communicate(timeout=60)

    assert process.returncode == 2, err
    assert "Traceback" not in err
    assert len([line for line in err.splitlines() if line.startswith("error: ")]) == 1
    assert "error" in json.loads(out)
    store = ModelStore(home)
    assert store.versions("simulated_stream") == ["1"]
    assert store.resolve("simulated_stream").model_version == "1"
    assert not list(home.glob("models/*/.*"))

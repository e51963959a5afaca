"""A released model to retrain, and the command in a process of its own that may be killed."""

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from infra.ledger import Ledger
from infra.settings import Settings
from serving.live import CHALLENGER
from serving.model_store import ModelStore
from tests.conftest import REPOSITORY

FROM, TO = "2025-01-10", "2025-07-03"
WINDOW = ("--from", FROM, "--to", TO)


@dataclass(frozen=True)
class Home:
    """A state folder with the model ``stream``, version 1 of which answers."""

    path: Path

    @property
    def store(self) -> ModelStore:
        return ModelStore(self.path)

    @property
    def ledger(self) -> Ledger:
        return Ledger(Settings(home=self.path).database)

    @property
    def client(self) -> MlflowClient:
        uri = f"sqlite:///{self.path / 'mlflow.db'}"
        return MlflowClient(uri, uri)

    @property
    def registered(self) -> list[str]:
        """Versions in the registry, oldest first."""
        found = self.client.search_model_versions("name = 'stream'")
        return sorted((str(version.version) for version in found), key=int)

    @property
    def runs(self) -> list[Path]:
        """Folders of the retrainings' runs, oldest first."""
        return sorted(path.parent for path in self.path.glob("runs/*/contract.json"))

    @property
    def left_behind(self) -> list[str]:
        """Temporary files and folders of ours, which begin with a dot wherever they are."""
        ours = ("models", "policies", "calibration", "features", "runs", "retrainings", "locks")
        found = (path for folder in ours for path in (self.path / folder).rglob(".*"))
        return sorted(str(path.relative_to(self.path)) for path in found)

    def events(self, *named: str) -> list[str]:
        """Events of the ledger about the model, of those names or all."""
        events = [entry.event for entry in self.ledger.entries("stream")]
        return [event for event in events if event in named] if named else events

    def require_whole(self, *, versions: list[str]) -> None:
        """Assert that these versions are there with all that belongs to them, and nothing else."""
        store = self.store
        assert store.versions("stream") == versions
        assert self.registered == versions
        told = [entry for entry in self.ledger.entries("stream") if entry.event == "registered"]
        assert [entry.details["model_version"] for entry in told] == versions
        # A number is taken once its signature is there, whatever happens to the policy then.
        policies = [entry.details["policy_version"] for entry in told]
        assert store.policy_versions("stream") == policies
        for version, policy in zip(versions, policies, strict=True):
            bundle = store.bundle("stream", version)
            store.policy("stream", policy).verify(bundle.model_sha256)
            for name in bundle.manifest.kept_files:
                assert store.kept("stream", version, name) is not None
            tags = self.client.get_model_version("stream", version).tags
            assert tags["whitecrow.state"] == "registered"
        assert self.left_behind == []
        waiting = store.live.get("stream", alias=CHALLENGER)
        assert waiting is not None
        assert waiting.model_version == versions[-1]
        champion = store.live.get("stream")
        assert champion is not None
        assert champion.model_version == "1"
        assert self.ledger.verify() == len(self.ledger.entries())


@pytest.fixture
def home(trained, tmp_path) -> Home:
    """A copy of the session's state folder."""
    return Home(Path(shutil.copytree(trained.home, tmp_path / "home")))


@dataclass(frozen=True)
class Steps:
    """The steps of a run's folder."""

    run: Path

    def finished(self) -> dict[str, str]:
        """When each finished step ended, by name."""
        return {fact["step"]: fact["finished_at"] for fact in self._facts()}

    def seconds(self) -> dict[str, float]:
        """How long each finished step took, by name."""
        return {fact["step"]: fact["seconds"] for fact in self._facts()}

    def under_way(self) -> str | None:
        """The step that has begun and not ended."""
        try:
            return (self.run / "steps" / "under_way").read_text()
        except FileNotFoundError:
            return None

    def _facts(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in self.run.glob("steps/*.json")]


Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(whitecrow) -> Iterator[Start]:
    """Starts a command in a process of its own; flows report to the session's Prefect server."""
    from prefect.settings import PREFECT_API_URL

    started: list[subprocess.Popen[str]] = []

    def run(home: Path, *arguments: Any, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", "from flows.cli import main; main()", *map(str, arguments)],
            env={
                **os.environ,
                "WHITECROW_HOME": str(home),
                "PREFECT_API_URL": str(PREFECT_API_URL.value()),
                # A file that somebody edits meanwhile is not what these tests are about.
                "WHITECROW_CODE_REVISION": "test",
                **environment,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        kill(process)


class Forks:
    """Starts commands as forks of one process that has everything imported."""

    def __init__(self, home: Path, log: Path, prefect: str) -> None:
        self.log = log
        environment = {
            "WHITECROW_HOME": str(home),
            "PREFECT_API_URL": prefect,
            "WHITECROW_CODE_REVISION": "test",
        }
        self._parent = subprocess.Popen(
            [sys.executable, "-m", "tests.flows.retraining.forking"],
            cwd=REPOSITORY,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        assert self._read("threads", 300) == 1

    def start(self, *arguments: Any) -> int:
        """Start a command and return its process."""
        assert self._parent.stdin is not None
        line = json.dumps({"arguments": [str(a) for a in arguments], "log": str(self.log)})
        print(line, file=self._parent.stdin, flush=True)
        return self._read("process", 60)

    def status(self, *, within: float) -> int | None:
        """Return how the command ended, negative for a signal; None where it runs after that."""
        try:
            return self._read("status", within)
        except queue.Empty:
            return None

    def end(self) -> None:
        self._parent.kill()
        self._parent.wait()
        self._listener.join()
        for pipe in (self._parent.stdin, self._parent.stdout):
            assert pipe is not None
            pipe.close()

    def _listen(self) -> None:
        assert self._parent.stdout is not None
        for line in self._parent.stdout:
            self._lines.put(line)

    def _read(self, key: str, within: float) -> int:
        value: int = json.loads(self._lines.get(timeout=within))[key]
        return value


@pytest.fixture
def forks(whitecrow, home, tmp_path) -> Iterator[Forks]:
    """Starts commands on the state folder that may be killed, without their imports each time."""
    from prefect.settings import PREFECT_API_URL

    forks = Forks(home.path, tmp_path / "commands.log", str(PREFECT_API_URL.value()))
    yield forks
    forks.end()


def kill(process: subprocess.Popen[str]) -> None:
    """End a process and all that it started, as ``kill -9`` does."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def wait_for(is_so: Callable[[], bool], process: subprocess.Popen[str], seconds: float) -> None:
    """Wait until something is so; the process must not end before."""
    deadline = time.monotonic() + seconds
    while not is_so():
        if process.poll() is not None:
            assert is_so(), process.communicate()
            return
        assert time.monotonic() < deadline
        time.sleep(0.005)

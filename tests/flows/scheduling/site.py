"""A state folder with a scheduled model, and real workers on it that may be killed."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import psutil

from flows.run_folder import read_json
from flows.scheduling.book import RunState, ScheduleBook, ScheduledRun
from flows.scheduling.schedule import ScheduleKey
from flows.scheduling.server import stop_server
from infra.ledger import Ledger
from infra.settings import Settings

WITHIN_S = 600

# The command ``whitecrow worker``, at a pace that a test can wait for.
_WORKER = """
from flows.orchestration import prepare_orchestration
from flows.workspace import Workspace
from infra.logs import configure_logs
from infra.settings import Settings
configure_logs(level="INFO")
prepare_orchestration(Workspace.open(Settings()))
from flows.scheduling.upkeep import Patience
from flows.scheduling.worker import Pace, run_worker
run_worker(Settings(), (), Pace(upkeep=3, restart=1, patience=Patience(10, 60, 10)))
"""
_COMMAND = "from flows.cli import main; main()"


@dataclass
class Site:
    """A state folder with schedules, and the processes that were started on it."""

    settings: Settings
    environment: dict[str, str] = field(default_factory=dict)
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def work(self) -> subprocess.Popen[bytes]:
        """Start a worker."""
        return self._start("-c", _WORKER)

    def work_as_shipped(self) -> subprocess.Popen[bytes]:
        """Start a worker by its command, at its own pace."""
        return self._start("-c", _COMMAND, "--verbose", "worker")

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            "WHITECROW_HOME": str(self.settings.home),
            "WHITECROW_PREFECT_PORT": "0",
            # A file that somebody edits meanwhile is not what these tests are about.
            "WHITECROW_CODE_REVISION": "test",
            "PREFECT_HOME": str(self.settings.root / "prefect"),
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            **self.environment,
        }
        environment.pop("PREFECT_API_URL", None)
        with (self.settings.root / "worker.log").open("ab") as log:
            worker = subprocess.Popen(
                [sys.executable, *arguments], env=environment, stdout=log, stderr=log
            )
        self.workers.append(worker)
        return worker

    @property
    def book(self) -> ScheduleBook:
        """What became of which moment."""
        return ScheduleBook(self.settings.database)

    def newest(self, key: ScheduleKey) -> ScheduledRun | None:
        """Return what became of the newest moment of a schedule."""
        return next(iter(self.book.runs(key, newest=1)), None)

    def retrained(self) -> tuple[int, list[str]]:
        """Return how many retrainings were finished, and which versions there are."""
        entries = Ledger(self.settings.database).entries("stream")
        finished = [entry for entry in entries if entry.event == "retrain.finished"]
        versions = (self.settings.root / "models" / "stream").iterdir()
        return len(finished), sorted(path.name for path in versions)

    def wait_until(self, what: Callable[[], bool], within: float = WITHIN_S) -> None:
        """Wait for something to be so."""
        deadline = time.monotonic() + within
        while not what():
            assert time.monotonic() < deadline, self.told()
            time.sleep(0.2)

    def wait_for_the_middle(self, key: ScheduleKey) -> None:
        """Wait until a step of the retraining is done, and not all of them."""

        def is_in_the_middle() -> bool:
            run = self.newest(key)
            steps = list(self.settings.root.glob("runs/*/steps/validate.json"))
            assert run is None or run.state == RunState.BEGUN, f"too late: {run}\n{self.told()}"
            return run is not None and bool(steps)

        self.wait_until(is_in_the_middle)

    def wait_for_the_end(self, key: ScheduleKey) -> ScheduledRun:
        """Wait until the newest moment has ended, and return what became of it."""

        def is_over() -> bool:
            run = self.newest(key)
            return run is not None and run.state != RunState.BEGUN

        self.wait_until(is_over)
        run = self.newest(key)
        assert run is not None
        return run

    @property
    def server(self) -> psutil.Process:
        """The process of Prefect's server."""
        return psutil.Process(read_json(self.settings.root / "prefect" / "server.json")["pid"])

    def told(self) -> str:
        """Return what the workers and their runs said."""
        logs = (self.settings.root / "worker.log", *self.settings.root.glob("logs/*"))
        return "\n".join(f"--- {log.name}\n{log.read_text()[-5000:]}" for log in logs)

    def end(self) -> None:
        """Leave nothing running."""
        for worker in self.workers:
            kill_with_runs(worker)
        stop_server(self.settings)


def kill_with_runs(worker: subprocess.Popen[bytes]) -> None:
    """End a worker and the runs that it started, as a loss of power does; not the server."""
    with suppress(psutil.NoSuchProcess):
        parent = psutil.Process(worker.pid)
        for process in (parent, *parent.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                if "uvicorn" not in " ".join(process.cmdline()):
                    process.kill()
    worker.wait()


def stop(worker: subprocess.Popen[bytes]) -> int:
    """End a worker as systemd does; returns its exit status."""
    worker.send_signal(signal.SIGTERM)
    return worker.wait(120)


@dataclass
class Listener:
    """An address that takes messages, and keeps them."""

    url: str
    bodies: list[dict[str, Any]] = field(default_factory=list)


@contextmanager
def listening() -> Iterator[Listener]:
    """Take messages by HTTP on a free port of this machine."""
    bodies: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            bodies.append(json.loads(self.rfile.read(length)))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield Listener(f"http://127.0.0.1:{server.server_port}/told", bodies)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

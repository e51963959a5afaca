"""How long ``whitecrow rollback`` takes until a running service answers with the version before.

Run it with ``python tests/benchmarks/bench_rollback.py``. It trains two small versions on a
simulated stream, starts a service, and then again and again promotes the second and rolls back to
the first, while rows are sent one after another. The goal is 5 seconds from the shell to the first
answer of the old model with its old policy. Beside the seconds on the clock stand those that the
command kept a processor busy: on a machine that is shared with other work they are what it takes
by itself.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import polars as pl

from features.ingestion.conforming import conform
from features.simulation.transactions import simulate_transactions_to
from serving.launch import free_port, running_service, wait_until_ready
from serving.model_store import ModelStore
from serving.requests import request_rows

REPEATS = 5
TINY = '[strategy.network]\nkind = "mlp"\nn_members = 2\n[strategy.training]\nmax_epochs = 2\n'
NAME = "stream"


@dataclass(frozen=True, slots=True)
class Rollback:
    """Seconds from the shell on, and those that the command kept a processor busy."""

    answered: float
    ended: float
    busy: float


class Client:
    """Sends a row under ever new ids, and says which version answered it."""

    def __init__(self, url: str, row: dict[str, Any]) -> None:
        self._http, self._row, self._ids = httpx.Client(base_url=url), row, count(10_000_000)

    def answering(self) -> tuple[str, str]:
        """Return model and policy of the answer to one more row."""
        sent = self._row | {"TRANSACTION_ID": type(self._row["TRANSACTION_ID"])(next(self._ids))}
        answer = self._http.post("/v1/score", json=sent, timeout=30).raise_for_status().json()
        return answer["model"]["version"], answer["model"]["policy_version"]

    def identity(self) -> tuple[str, str]:
        """Return the SHA-256 of the network that answers, and the id of its policy."""
        model = self._http.get("/v1/model", timeout=30).raise_for_status().json()
        return model["model_sha256"], model["policy_id"]

    def wait_for(self, wanted: tuple[str, str]) -> None:
        """Send rows until a version answers."""
        while self.answering() != wanted:
            time.sleep(0.01)


def main() -> None:
    """Print the median of some rollbacks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    repeats = parser.parse_args().repeats
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        stream, home = folder / "stream.parquet", folder / "home"
        train_two_versions(home, stream)
        port = free_port()
        with (
            (folder / "log").open("wb") as log,
            running_service(
                (NAME,), port=port, home=home, state_uri=str(folder / "s.db"), log=log.fileno()
            ),
        ):
            url = f"http://127.0.0.1:{port}"
            wait_until_ready(url, timeout=300)
            client = Client(url, newest_row(home, stream))
            report([rolled_back(home, client) for _ in range(repeats)])


def train_two_versions(home: Path, stream: Path) -> None:
    """Train the same name twice; the first version answers."""
    simulate_transactions_to(stream, 20_000, seed=1, fraud_rate=0.03)
    config = stream.with_name("run.toml")
    config.write_text(TINY)
    for seed in (0, 1):
        whitecrow(
            home, "train", stream, "-c", "simulated_stream", "--config", config,
            "--name", NAME, "--seed", seed, "--device", "cpu",
        )  # fmt: skip


def newest_row(home: Path, stream: Path) -> dict[str, Any]:
    """Return the newest row of the stream as a client sends it."""
    bundle = ModelStore(home).bundle(NAME, "1")
    row = conform(pl.read_parquet(stream).tail(1), bundle.contract)
    (sent,) = request_rows(row, bundle.contract, bundle.feature_set.input_types)
    return dict(sent)


def rolled_back(home: Path, client: Client) -> Rollback:
    """Promote the second version, wait until it answers, and roll back."""
    before = client.identity()
    whitecrow(home, "promote", f"{NAME}:2", "--despite-verdict", "--reason", "benchmark")
    client.wait_for(("2", "2"))
    began = time.perf_counter()
    process = subprocess.Popen(
        command("rollback", NAME, "--reason", "benchmark"),
        env=environment(home), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    client.wait_for(("1", "1"))
    answered = time.perf_counter() - began
    assert client.identity() == before
    assert process.stdout is not None
    line = process.stdout.readline()
    assert "version 1 with policy 1 is live" in line, line
    process.stdout.close()
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, status
    process.returncode = 0
    return Rollback(answered, time.perf_counter() - began, usage.ru_utime + usage.ru_stime)


def report(found: list[Rollback]) -> None:
    """Print medians and the slowest."""
    words = {
        "answered": "first answer of the old version",
        "ended": "the command's end, MLflow told",
        "busy": "of a processor, the command in all",
    }
    for name, what in words.items():
        seconds = [getattr(one, name) for one in found]
        print(
            f"{what}: median {statistics.median(seconds):.1f} s of {len(seconds)}, "
            f"slowest {max(seconds):.1f} s",
            flush=True,
        )


def command(*arguments: object) -> list[str]:
    """Return a command line."""
    return [str(Path(sys.executable).with_name("whitecrow")), *map(str, arguments)]


def environment(home: Path) -> dict[str, str]:
    """Return the environment of a command on a state folder."""
    return {**os.environ, "WHITECROW_HOME": str(home)}


def whitecrow(home: Path, *arguments: object) -> None:
    """Run a command to its end."""
    done = subprocess.run(
        command(*arguments), env=environment(home), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])


if __name__ == "__main__":
    main()

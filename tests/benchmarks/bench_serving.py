"""The scoring service beside its references, all in one run: ``make bench-serving``.

*bare* is uvicorn, msgspec and ONNX Runtime: parse the row, run the model, encode. *mounted* is the
same job as an ASGI application in BentoML with whitecrow's settings, *stock* is it under
``@bentoml.api``. whitecrow validates, scores, decides, explains, logs durably and answers. All with
one worker. Needs wrk. ``--home`` keeps what was trained; ``--rounds 0`` leaves the comparison out;
``--steady`` adds 500 requests a second for so many seconds, in turn with mounted and beside what
the host took of the processors; ``--soak`` so many requests and what they do to memory.
"""

import argparse
import contextlib
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import psutil
from serving_load.generators import Load, as_fast_as_it_goes, at_a_steady_rate

from features.ingestion.conforming import conform
from features.ingestion.tables import read_table
from infra.settings import Settings
from serving.launch import free_port, running_service, wait_until_ready
from serving.model_store import ModelStore
from serving.requests import is_sendable, request_rows
from serving.scorer import Scorer
from serving.verification import load_scorer

HOST = "127.0.0.1"
CARDS, STREAM = "creditcard", "simulated_stream"
STOPPED_SHARE = 0.002
_STEADY_RATE = 500
_SLICE_SECONDS = 30
N_BODIES = 20_000
BATCH = 1_000
QUICK = """
few_positives = 0
[strategy]
kind = "erm"
[strategy.training]
max_epochs = 2
"""
"""What a service costs depends on the network's size, not on what it learnt."""


@dataclass(frozen=True)
class Bodies:
    """Files of request bodies, one a line."""

    usual: Path
    stopped: Path
    wrapped: Path
    batches: Path


def whitecrow(home: Path, *arguments: object) -> None:
    """Run a command of whitecrow."""
    command = [str(Path(sys.executable).with_name("whitecrow")), *map(str, arguments)]
    environment = os.environ | {"WHITECROW_HOME": str(home)}
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)


def prepare(home: Path, data: Path) -> None:
    """Train both models, and fill the state of the one that looks back."""
    home.mkdir(parents=True, exist_ok=True)
    quick, stream = home / "quick.toml", home / "stream.parquet"
    quick.write_text(QUICK)
    if not (home / "models" / CARDS).exists():
        table = data / "creditcard.parquet"
        whitecrow(home, "train", table, "--contract", CARDS, "--config", quick)
    if not (home / "models" / STREAM).exists():
        whitecrow(home, "simulate", "transactions", "--rows", 100_000, "--out", stream)
        whitecrow(home, "train", stream, "--contract", STREAM, "--config", quick)
        whitecrow(home, "backfill", stream, "--contract", STREAM)


def bodies_of(scorer: Scorer, table: Path, folder: Path) -> Bodies:
    """Write bodies of the last rows of a table, with the share of stopped ones that is wanted."""
    contract = scorer.bundle.contract
    frame = conform(read_table(table).tail(60_000), contract)
    input_types = scorer.bundle.feature_set.input_types
    frame = frame.filter(is_sendable(frame, contract, input_types))
    if contract.velocity_features:
        # All at the last moment: whatever order they come in, no row is too late.
        newest = pl.col(contract.event_time_column or "").max()
        frame = frame.with_columns(newest)
    rows = request_rows(frame, contract, input_types)
    width = len(contract.velocity_features)
    zeros = np.zeros((len(rows), width)) if width else None
    scored = scorer.score_rows(rows, zeros)
    is_stopped = [getattr(each, "decision", "approve") != "approve" for each in scored]
    lines = [_line(row, contract.columns.id) for row in rows]
    passed = [line for line, stop in zip(lines, is_stopped, strict=True) if not stop]
    stopped = [line for line, stop in zip(lines, is_stopped, strict=True) if stop]
    n_stopped = max(1, round(N_BODIES * STOPPED_SHARE))
    usual = passed[: N_BODIES - n_stopped] + (stopped * n_stopped)[:n_stopped]
    random.Random(0).shuffle(usual)
    batches = [
        f'{{"rows":[{",".join(usual[at : at + BATCH])}]}}'
        for at in range(0, N_BODIES - BATCH + 1, BATCH)
    ]
    wrapped = [f'{{"row":{line}}}' for line in usual]
    contents = {"usual": usual, "stopped": stopped, "wrapped": wrapped, "batches": batches}
    found = Bodies(**{kind: folder / f"{scorer.name}-{kind}.jsonl" for kind in contents})
    for kind, lines in contents.items():
        getattr(found, kind).write_text("\n".join(lines) + "\n")
    return found


def _line(row: dict[str, Any], id_column: str | None) -> str:
    if id_column is None:
        return msgspec.json.encode(row).decode()
    return msgspec.json.encode(row | {id_column: "@ID@"}).decode()


@contextlib.contextmanager
def reference(kind: str, scorer: Scorer, home: Path) -> Iterator[str]:
    """Run a reference on the model of a scorer; yield where it takes rows."""
    port = free_port()
    feature_set = scorer.bundle.feature_set
    folder = home / "models" / scorer.name / scorer.model_version
    environment = os.environ | {
        "BENCH_MODEL": str(folder / "model.onnx"),
        "BENCH_FIELDS": json.dumps([n for n in feature_set.numeric if n in _sent(scorer)]),
        "PYTHONPATH": str(Path(__file__).parent),
        "BENTOML_DO_NOT_TRACK": "True",
    }
    server = {
        "bare": [
            "uvicorn", "serving_load.bare:application", "--no-access-log", "--log-level", "error",
        ],
        "mounted": ["bentoml", "serve", "serving_load.mounted:Mounted"],
        "stock": ["bentoml", "serve", "serving_load.stock:Stock"],
    }[kind]  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        process = subprocess.Popen(
            [sys.executable, "-m", *server, "--host", HOST, "--port", str(port)],
            env=environment | {"BENTOML_HOME": scratch},
            cwd=scratch,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            _wait_for(port)
            yield f"http://{HOST}:{port}/v1/score"
        finally:
            process.terminate()
            process.wait()


def _sent(scorer: Scorer) -> set[str]:
    return {field.name for field in scorer.fields}


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
            time.sleep(3)  # BentoML listens before its worker answers
            return
        time.sleep(0.1)
    raise TimeoutError(port)


@contextlib.contextmanager
def service(name: str, home: Path) -> Iterator[tuple[str, int]]:
    """Run whitecrow; yield where it takes rows, and its process."""
    port = free_port()
    with (
        (home / "service.log").open("ab") as log,
        running_service([name], port=port, home=home, log=log.fileno()) as process,
    ):
        url = f"http://{HOST}:{port}"
        wait_until_ready(url)
        yield f"{url}/v1/score", process.pid


class Runs:
    """Loads of every variant, round by round, and their table."""

    def __init__(self, seconds: int, connections: int, scratch: Path) -> None:
        self._first_id = time.time_ns() // 1_000
        self._seconds, self._connections, self._scratch = seconds, connections, scratch
        self.loads: dict[str, list[Load]] = {}

    def load(self, name: str, url: str, bodies: Path, *, connections: int | None = None) -> None:
        """Load a server once, after a short warming."""
        for seconds in (2, self._seconds):
            self._first_id += 10_000_000
            found = as_fast_as_it_goes(
                url,
                bodies,
                seconds=seconds,
                connections=connections or self._connections,
                first_id=self._first_id,
                scratch=self._scratch,
            )
        self.loads.setdefault(name, []).append(found)

    def median(self, name: str, what: Callable[[Load], float]) -> float:
        """Return the median over the rounds."""
        return statistics.median(what(each) for each in self.loads[name])

    def table(self, against: str) -> str:
        """Return a line a variant, with ratios to one of them."""
        lines = [
            "| variant | requests/s | p50, ms | p99, ms | failed | rate, p99 to mounted |",
            "| --- | ---: | ---: | ---: | ---: | ---: |",
        ]
        base = [self.median(against, what) for what in (_rate, _p99)]
        for name, loads in self.loads.items():
            rate, p99 = self.median(name, _rate), self.median(name, _p99)
            lines.append(
                f"| {name} | {rate:,.0f} | {self.median(name, lambda x: x.p50):.2f} | {p99:.2f} | "
                f"{sum(each.n_failed for each in loads)} | {rate / base[0]:.2f}, "
                f"{p99 / base[1]:.2f} |"
            )
        return "\n".join(lines)


def _rate(load: Load) -> float:
    return load.rate


def _p99(load: Load) -> float:
    return load.p99


def batch_reference(scorer: Scorer, bodies: Path, *, seconds: float) -> float:
    """Return rows a second of decoding, one model call and encoding, with nothing around them."""
    feature_set = scorer.bundle.feature_set
    known = [name for name in feature_set.numeric if name in _sent(scorer)]
    lines = bodies.read_bytes().splitlines()
    n_rows, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        rows = msgspec.json.decode(lines[(n_rows // BATCH) % len(lines)])["rows"]
        numeric = np.zeros((len(rows), len(feature_set.numeric)), dtype=np.float32)
        numeric[:, : len(known)] = [[row[name] or 0.0 for name in known] for row in rows]
        logits = scorer.model.logits(numeric)
        msgspec.json.encode({"results": logits.tolist()})
        n_rows += len(rows)
    return n_rows / (time.perf_counter() - begun)


def resident_mebibytes(pid: int) -> float:
    """Return the memory of a process and all that it started."""
    parent = psutil.Process(pid)
    processes = [parent, *parent.children(recursive=True)]
    return sum(each.memory_info().rss for each in processes) / 2**20


def main() -> None:
    """Print every table."""
    settings = Settings()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, default=settings.root / "bench-serving")
    parser.add_argument("--data", type=Path, default=settings.data_root)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--steady", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--soak", type=int, default=0, metavar="REQUESTS")
    given = parser.parse_args()
    home = given.home.resolve()
    prepare(home, given.data)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        cards, stream = (load_scorer(ModelStore(home), name) for name in (CARDS, STREAM))
        of_cards = bodies_of(cards, given.data / "creditcard.parquet", scratch)
        of_stream = bodies_of(stream, home / "stream.parquet", scratch)
        if given.rounds:
            _side_by_side(given, home, scratch, (cards, of_cards), (stream, of_stream))
        if given.steady:
            _steady(home, cards, of_cards.usual, seconds=given.steady)
        if given.soak:
            _soak(home, of_cards.usual, n_requests=given.soak, scratch=scratch)


def _side_by_side(
    given: argparse.Namespace,
    home: Path,
    scratch: Path,
    of_cards: tuple[Scorer, Bodies],
    of_stream: tuple[Scorer, Bodies],
) -> None:
    (cards, card_bodies), (stream, stream_bodies) = of_cards, of_stream
    single = Runs(given.seconds, given.connections, scratch)
    looking_back = Runs(given.seconds, given.connections, scratch)
    batches = Runs(given.seconds, given.connections, scratch)
    alone = []
    for _ in range(given.rounds):
        for kind in ("bare", "mounted", "stock"):
            with reference(kind, cards, home) as url:
                single.load(
                    kind, url, card_bodies.wrapped if kind == "stock" else card_bodies.usual
                )
        with service(CARDS, home) as (url, _):
            single.load("whitecrow, 0.2 % with reasons", url, card_bodies.usual)
            single.load("whitecrow, all with reasons", url, card_bodies.stopped)
            batches.load("whitecrow", f"{url}/batch", card_bodies.batches, connections=2)
        alone.append(batch_reference(cards, card_bodies.batches, seconds=given.seconds / 2))
        with reference("mounted", stream, home) as url:
            looking_back.load("mounted", url, stream_bodies.usual)
        with service(STREAM, home) as (url, _):
            looking_back.load("whitecrow", url, stream_bodies.usual)
    print(f"creditcard, single rows\n\n{single.table('mounted')}\n")
    width = len(stream.bundle.contract.velocity_features)
    print(
        f"simulated_stream, {width} features over time on SQLite\n\n"
        f"{looking_back.table('mounted')}\n"
    )
    rows = batches.median("whitecrow", _rate) * BATCH
    ratio = rows / statistics.median(alone)
    print(f"batches of {BATCH:,}: {rows:,.0f} rows/s, {ratio:.2f} of decode, model, encode alone")


def _steady(home: Path, scorer: Scorer, bodies: Path, *, seconds: float) -> None:
    lines = bodies.read_text().splitlines()
    slices: list[tuple[Load, float, Load, float]] = []
    with service(CARDS, home) as (url, _), reference("mounted", scorer, home) as mounted:
        first_id = time.time_ns() // 1_000
        while len(slices) * _SLICE_SECONDS < seconds:
            found = []
            for target, length in ((url, _SLICE_SECONDS), (mounted, _SLICE_SECONDS / 3)):
                first_id += 10_000_000
                before = psutil.cpu_times()
                load = at_a_steady_rate(
                    target,
                    lines,
                    rate=_STEADY_RATE,
                    seconds=length,
                    first_id=first_id,
                )
                found += [load, _stolen(before, psutil.cpu_times())]
            slices.append((found[0], found[1], found[2], found[3]))
    loads = [each[0] for each in slices]
    print(
        f"{_STEADY_RATE} a second, {len(slices)} times {_SLICE_SECONDS} s, in turn with mounted: "
        f"{sum(each.n_requests for each in loads):,} answered, "
        f"{sum(each.n_failed for each in loads)} failed\n\n"
        "| p50, ms | p99, ms | stolen | mounted: p50, ms | p99, ms | stolen |\n"
        "| ---: | ---: | ---: | ---: | ---: | ---: |"
    )
    for own, stolen, other, stolen_there in sorted(slices, key=lambda each: each[1]):
        print(
            f"| {own.p50:.2f} | {own.p99:.2f} | {stolen:.1%} "
            f"| {other.p50:.2f} | {other.p99:.2f} | {stolen_there:.1%} |"
        )


def _stolen(before: Any, after: Any) -> float:
    """Return which share of the processors' time the machine below took for others."""
    spent = [late - early for early, late in zip(before, after, strict=True)]
    return float((after.steal - before.steal) / sum(spent))


def _soak(home: Path, bodies: Path, *, n_requests: int, scratch: Path) -> None:
    with service(CARDS, home) as (url, pid):
        done, memory = 0, []
        while done < n_requests:
            load = as_fast_as_it_goes(
                url, bodies, seconds=20, connections=32, first_id=0, scratch=scratch
            )
            done += load.n_requests
            memory.append((done, resident_mebibytes(pid)))
    told = ", ".join(
        f"{done:,}: {mebibytes:,.0f}" for done, mebibytes in memory[:: len(memory) // 6 or 1]
    )
    print(f"MiB of the service by requests answered: {told}")


if __name__ == "__main__":
    main()

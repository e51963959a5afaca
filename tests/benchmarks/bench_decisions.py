"""How fast a policy decides, and what it costs to write a decision down.

A policy decides a million rows at once, and one row at a time: once with one threshold for all
rows, once with a review threshold by each row's amount and a decline threshold by its segment.

The decision log takes rows of 30 numbers without and with an id, and rows with two entities and a
personal column, in groups of several sizes. What counts is the processor time of the whole process:
identities and drafts on the thread that asks, records and the database's part on the log's own
thread (PostgreSQL's server does its part elsewhere). PostgreSQL is measured where
``WHITECROW_TEST_POSTGRES`` (default: 127.0.0.1:5432) answers.

Run ``python -m tests.benchmarks.bench_decisions`` or the file itself, with ``policy`` or ``log``
for one half; figures are printed.
"""

import gc
import os
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psycopg

from balancing.calibration.calibrator import PlattCalibrator
from balancing.calibration.fitting.policy import fit_policy
from balancing.calibration.policy import Policy
from balancing.calibration.post_processing.class_dependent import ClassDependentTemperatures
from balancing.evaluation import evaluate
from features.contract import parse_contract
from features.feature_set import FeatureSet
from features.vocabulary import Vocabulary
from serving.answers import Answer, AtThisScore, ModelName, new_decision_id
from serving.decisions.group_writer import Entry
from serving.decisions.layout import RecordLayout
from serving.decisions.log import DecisionLog
from serving.decisions.postgres_store import PostgresStore
from serving.decisions.record import Draft
from serving.decisions.sealing import LogSecret
from serving.decisions.sqlite_store import SqliteStore
from serving.decisions.store import DecisionStore
from serving.request_context import RequestContext
from serving.requests import TypedRow
from serving.scored import ScoredRow

N_ROWS = 1_000_000
N_CALIBRATION, N_POSITIVES = 60_000, 120
LOG_SECRET = LogSecret(bytes(range(32)))
SERVER = os.environ.get("WHITECROW_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432")
SEGMENTS = np.array([str(number) for number in range(50)], dtype=object)


def make_logits(n_rows: int, seed: int) -> np.ndarray:
    """Antisymmetric float32 logits of mostly negative rows."""
    odds = np.random.default_rng(seed).normal(-7, 2, n_rows)
    return np.stack([-odds / 2, odds / 2], axis=1).astype(np.float32)


def make_rows(n_rows: int, seed: int) -> dict[str, np.ndarray]:
    """Amounts, a few of them missing, and one of fifty segments for each row."""
    rng = np.random.default_rng(seed)
    amount = rng.integers(100, 90_000, n_rows).astype(np.float64)
    amount[rng.random(n_rows) < 0.01] = np.nan
    return {"amount_minor": amount, "segment": SEGMENTS[rng.integers(0, len(SEGMENTS), n_rows)]}


def fit_some_policy(*, by_row: bool) -> tuple[Policy, float]:
    """A policy with both thresholds, and the seconds it took.

    By row: review by the row's amount, decline by its segment.
    """
    rng = np.random.default_rng(0)
    label = rng.permutation(np.arange(N_CALIBRATION) < N_POSITIVES)
    rows = make_rows(N_CALIBRATION, seed=3)
    place = np.array([float(name) for name in rows["segment"]]) / 25
    odds = rng.normal(-8, 2, N_CALIBRATION) + place + 6 * label
    max_fpr = {"objective": "max_fpr", "max_fpr": 0.002}
    started = time.perf_counter()
    policy = fit_policy(
        np.stack([-odds / 2, odds / 2], axis=1).astype(np.float32),
        label,
        **rows,
        event_time=np.datetime64("2018-01-01", "s") + np.arange(N_CALIBRATION),
        settings={
            "review": {"objective": "cost", "review_cost": 5} if by_row else max_fpr,
            "decline": {"objective": "max_fpr", "max_fpr": 0.001},
            "segments": ["segment"] if by_row else [],
        },
        model_sha256="0" * 64,
        post_processing=ClassDependentTemperatures(
            gamma=0.1, class_counts=(200_000, 400), mean_logits=(3.5, -3.5)
        ),
        calibration_fingerprint="0" * 64,
        actor="benchmark",
        reason="benchmark",
        seed=0,
    )
    return policy, time.perf_counter() - started


def seconds_of(n_times: int, call: Callable[[], object]) -> tuple[float, float]:
    """Median seconds on the clock, and the least of one core, of several calls."""
    clock, core = [], []
    for _ in range(n_times):
        started = time.perf_counter(), time.process_time()
        call()
        clock.append(time.perf_counter() - started[0])
        core.append(time.process_time() - started[1])
    return statistics.median(clock), min(core)


def show_decisions(what: str, policy: Policy, logits: np.ndarray, rows: dict[str, Any]) -> None:
    """Print how long decisions take with and without where the scores stand."""
    one = {name: values[:1] for name, values in rows.items()}
    calls: dict[str, tuple[int, Callable[[], object]]] = {
        f"decide {len(logits):,} rows": (7, lambda: policy.decide(logits, **rows)),
        f"apply {len(logits):,} rows": (7, lambda: policy.apply(logits, **rows)),
        "decide 1 row": (2000, lambda: policy.decide(logits[:1], **one)),
    }
    for name, (n_times, call) in calls.items():
        clock, core = seconds_of(n_times, call)
        unit, scale = ("s", 1) if n_times < 100 else ("microseconds", 1e6)
        print(f"{what}: {name}: {scale * clock:.3g} {unit} ({scale * core:.3g} of one core)")


@dataclass(frozen=True, slots=True)
class Scored:
    """A row, what was said of it, and what it was answered."""

    row: TypedRow
    scored: ScoredRow
    answer: Answer


def contract_of(*, has_id: bool, is_private: bool) -> dict[str, Any]:
    """30 columns as of the creditcard data; or fewer, two entities and a personal column."""
    columns: dict[str, Any] = {
        "event_time": "Time",
        "amount": {"column": "Amount", "currency": "EUR"},
        "numeric": [f"V{number}" for number in range(1, 9 if is_private else 29)],
    }
    if has_id:
        columns["id"] = "ID"
    if is_private:
        columns |= {"entities": ["CUSTOMER", "TERMINAL"], "categorical": ["COUNTRY"]}
        columns["pii"] = ["COUNTRY"]
    return {"name": "benchmark", "columns": columns, "label": {"column": "Class"}}


def layout_of(contract: dict[str, Any]) -> RecordLayout:
    """How decisions of the contract's model are written down."""
    resolved = parse_contract(contract, source="benchmark")
    columns = resolved.columns
    known = {name: Vocabulary(("DE", "FR")) for name in columns.categorical}
    feature_set = FeatureSet(resolved, ("Amount", *columns.numeric), tuple(known), known)
    return RecordLayout(
        resolved, feature_set, model_version="1", policy_version="1", secret=LOG_SECRET
    )


def make_scored(contract: dict[str, Any], n_rows: int) -> list[Scored]:
    """Rows as the service types them, of 5,000 customers where there are any."""
    rng = np.random.default_rng(5)
    columns, start = contract["columns"], datetime(2013, 9, 1, tzinfo=UTC)
    model, found = ModelName(contract["name"], "1", "1"), []
    for number in range(n_rows):
        values = rng.normal(size=len(columns["numeric"]))
        row: TypedRow = {"ID": str(number)} if "id" in columns else {}
        row |= {"Time": start + timedelta(seconds=number), "Amount": number / 100}
        row |= {name: str(rng.integers(5_000)) for name in columns.get("entities", ())}
        row |= zip(columns["numeric"], values.tolist(), strict=True)
        row |= dict.fromkeys(columns.get("categorical", ()), "DE")
        numeric = np.asarray([number / 100, *values], dtype="<f4").tobytes()
        codes = np.full(len(columns.get("categorical", ())), 2, dtype="<i8").tobytes()
        risk, place = rng.random() / 50, AtThisScore(rng.random() / 50, 12.5)
        odds, row_id = (-risk, risk), row.get("ID")
        answer = Answer(new_decision_id(), row_id, risk, "approve", (), (), place, model)
        scored = ScoredRow(row_id, risk, "approve", (), (), 0.1, 12.5, odds, numeric, codes)
        found.append(Scored(row, scored, answer))
    return found


def log_costs(store: DecisionStore, contract: dict[str, Any], size: int) -> tuple[float, float]:
    """Median microseconds of the process for a decision, and of them the asking thread's."""
    layout, log = layout_of(contract), DecisionLog(lambda: store, LOG_SECRET)
    stages = {"parse": 100, "features": 300, "model": 500}
    whole, asking = [], []
    rows = make_scored(contract, max(100, min(6_000, 150 * size)))
    gc.collect()
    gc.freeze()  # as the service does after loading
    for begin in range(0, len(rows), size):
        group, context = rows[begin : begin + size], RequestContext(key_id="till")
        started = time.process_time(), time.thread_time()
        entries = []
        for place, each in enumerate(group):
            identity = layout.identity(each.row, context, place)
            draft = Draft(
                identity, context.received_at, "till", each.row, each.scored, each.answer, stages
            )
            entries.append(Entry(draft, layout))
        asking.append((time.thread_time() - started[1]) / len(group))
        log.append(entries, time.monotonic() + 60)
        whole.append((time.process_time() - started[0]) / len(group))
    gc.unfreeze()
    log.close()
    return 1e6 * statistics.median(whole), 1e6 * statistics.median(asking)


@contextmanager
def new_store(kind: str) -> Iterator[DecisionStore]:
    """Yield a new database of a kind."""
    if kind == "SQLite":
        with tempfile.TemporaryDirectory() as folder:
            yield SqliteStore(Path(folder) / "decisions.db", LOG_SECRET.fingerprint)
        return
    name = f"whitecrow_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(f"{SERVER}/postgres", autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name}")
        try:
            yield PostgresStore(f"{SERVER}/{name}", LOG_SECRET.fingerprint)
        finally:
            server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def show_log() -> None:
    """Print what a decision costs in each kind of database, by the size of its group."""
    contracts = {
        "30 numbers": contract_of(has_id=False, is_private=False),
        "30 numbers and an id": contract_of(has_id=True, is_private=False),
        "entities and a personal column": contract_of(has_id=True, is_private=True),
    }
    for kind in ("SQLite", "PostgreSQL"):
        for what, contract in contracts.items():
            for size in (1, 8, 32, 1_000):
                try:
                    with new_store(kind) as store:
                        whole, asking = log_costs(store, contract, size)
                except psycopg.OperationalError:
                    print(f"{kind}: no server at {SERVER}")
                    return
                print(
                    f"log in {kind}, {what}, groups of {size:,}: {whole:.1f} microseconds of "
                    f"processor time a decision ({asking:.1f} on the thread that asks)"
                )


def show_policy() -> None:
    """Print how fast policies of two kinds decide."""
    logits, rows = make_logits(N_ROWS, seed=1), make_rows(N_ROWS, seed=4)
    for by_row in (False, True):
        what = "by amount and segment" if by_row else "one threshold for all"
        policy, fit_seconds = fit_some_policy(by_row=by_row)
        print(f"{what}: fit on {N_CALIBRATION:,} rows: {fit_seconds:.2f} s")
        assert (policy.needs_amounts, policy.needs_segments) == (by_row, by_row)
        show_decisions(what, policy, logits, rows)
    label = np.random.default_rng(2).random(350_000) < 500 / 350_000
    score = PlattCalibrator(slope=1.0, intercept=0.0).apply(
        logits[: len(label), 1].astype(np.float64) * 2 + 5 * label
    )
    started = time.perf_counter()
    evaluate(label, score, amount_minor=np.ones(len(label)))
    print(f"evaluate 350,000 rows with intervals: {time.perf_counter() - started:.2f} s")


def main() -> None:
    """Print each figure on a line of its own."""
    halves = {"policy": show_policy, "log": show_log}
    for name in sys.argv[1:] or halves:
        halves[name]()


if __name__ == "__main__":
    main()

"""What a row of a request costs, part by part, beside the least that an answer can cost.

Run it with ``python tests/benchmarks/bench_rows.py``: rows of creditcard and an ensemble of eight
30-64-64-1 networks, the default size, with random weights. Figures are microseconds of processor
time for a row, medians of rounds in which every part takes its turn: the machine may be busy. The
reference decodes, runs the model and encodes its log-odds, and does nothing else.
"""

import argparse
import gc
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import numpy as np
import onnxruntime
from bench_scoring import random_bundle, stopping_policy

from features.contract import read_contract
from features.ingestion.conforming import conform
from features.ingestion.tables import read_table
from serving.answers import answers, encode
from serving.request_json import parse_batch, parse_row
from serving.requests import request_rows
from serving.scored import ScoredRow
from serving.scorer import Scorer

REPOSITORY = Path(__file__).resolve().parents[2]
BATCH = 1_000
GROUPS = (1, 4, 8, 32)
REPEATS = 200
"""Of a small group in a round: the clock of processor time is coarse."""

Part = tuple[str, int, Callable[[], Any]]


def main() -> None:
    """Print microseconds per row of each part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    with TemporaryDirectory() as folder:
        scorer, rows = _scorer(Path(folder))
        parts = [*_batch_parts(scorer, rows), *_group_parts(scorer, rows)]
        gc.collect()
        gc.freeze()  # as the service does once it has loaded its models
        spent: dict[str, list[float]] = {name: [] for name, _, _ in parts}
        for _ in range(given.rounds):
            for name, n_rows, work in parts:
                begun = time.process_time()
                work()
                spent[name].append((time.process_time() - begun) / n_rows * 1e6)
    for name, times in spent.items():
        print(f"{name:44} {statistics.median(times):8.2f} µs per row")


def _scorer(folder: Path) -> tuple[Scorer, list[dict[str, Any]]]:
    root = Path(os.environ.get("WHITECROW_DATA_ROOT", REPOSITORY / "../shared/data"))
    raw = read_table(root / "creditcard.parquet").tail(20_000)
    contract = read_contract("creditcard").resolve(raw.columns)
    frame = conform(raw, contract)
    bundle = random_bundle(folder, frame, contract, n_members=8, width=64)
    policy = stopping_policy(bundle, frame)
    scorer = Scorer(bundle, policy, model_version="1", policy_version="1")
    types = bundle.feature_set.input_types
    # None that is stopped: reasons cost what the network costs, so many times over.
    approved = np.flatnonzero(scorer.score_frame(frame, with_reasons=False).decision == 0)
    return scorer, request_rows(frame[approved[:BATCH].tolist()], contract, types)


def _batch_parts(scorer: Scorer, rows: Sequence[dict[str, Any]]) -> list[Part]:
    body = msgspec.json.encode({"rows": rows})
    bodies = parse_batch(body)
    typed: list[Any] = scorer.read_bodies(bodies)
    scored: list[Any] = scorer.score_typed(typed)
    given = answers(scored, scorer)
    arrays = scorer.decide_typed(typed).arrays
    reference = _reference(scorer)

    def whole() -> bytes:
        outcomes: list[Any] = scorer.read_bodies(parse_batch(body))
        decided: list[Any] = scorer.score_typed(outcomes)
        return encode({"results": answers(decided, scorer)})

    return [
        ("batch: reference", BATCH, lambda: reference(body)),
        ("batch: all but the log", BATCH, whole),
        ("  split", BATCH, lambda: parse_batch(body)),
        ("  read", BATCH, lambda: scorer.read_bodies(bodies)),
        ("  score", BATCH, lambda: scorer.score_typed(typed)),
        ("    of it the network", BATCH, lambda: scorer.model.logits(arrays.numeric)),
        ("  answer", BATCH, lambda: answers(scored, scorer)),
        ("  encode", BATCH, lambda: encode({"results": given})),
    ]


def _group_parts(scorer: Scorer, rows: Sequence[dict[str, Any]]) -> list[Part]:
    bodies = [msgspec.json.encode(row) for row in rows[:REPEATS]]
    sent = [parse_row(body) for body in bodies]
    typed: list[Any] = scorer.read_rows(sent)
    parts: list[Part] = [
        ("row: parse", REPEATS, lambda: [parse_row(body) for body in bodies]),
        ("row: read", REPEATS, lambda: [scorer.read_rows([row]) for row in sent]),
        ("row: both at once", REPEATS, lambda: [scorer.read_body(body) for body in bodies]),
    ]
    for size in GROUPS:
        group = typed[:size]
        arrays = scorer.decide_typed(group).arrays
        scored = [row for row in scorer.score_typed(group) if isinstance(row, ScoredRow)]
        parts += [
            (f"group of {size}: score", size * REPEATS, _repeated(scorer.score_typed, group)),
            (
                f"  of it the network, group of {size}",
                size * REPEATS,
                _repeated(scorer.model.logits, arrays.numeric),
            ),
            (f"  answer, group of {size}", size * REPEATS, _repeated(answers, scored, scorer)),
        ]
    return parts


def _repeated(work: Callable[..., Any], *given: Any) -> Callable[[], None]:
    def run() -> None:
        for _ in range(REPEATS):
            work(*given)

    return run


def _reference(scorer: Scorer) -> Callable[[bytes], bytes]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        scorer.bundle.model, options, providers=["CPUExecutionProvider"]
    )
    names = scorer.bundle.feature_set.numeric

    def run(body: bytes) -> bytes:
        rows = msgspec.json.decode(body)["rows"]
        numeric = np.array([[row.get(name) or 0.0 for name in names] for row in rows], np.float32)
        logits: Any = session.run(None, {"numeric": numeric})[0]
        return msgspec.json.encode({"log_odds": (logits[:, 1] - logits[:, 0]).tolist()})

    return run


if __name__ == "__main__":
    main()

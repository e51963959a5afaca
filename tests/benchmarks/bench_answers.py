"""What features over time add to the answer of one row: state read, evaluated, applied.

Run as ``python tests/benchmarks/bench_answers.py HOME NAME DATA [--state redis://…]``: a state
folder, a model in it whose contract has features over time, and a table in time order. Its last
rows are answered one by one, from JSON text to JSON text, on a state that holds the rows before.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import numpy as np
import polars as pl

from features.ingestion.conforming import conform
from features.ingestion.tables import read_table
from features.online.backfill import backfill
from features.online.history import History
from features.online.opening import open_state
from serving.answers import answer, encode
from serving.model_store import ModelStore
from serving.online_path import OnlinePath
from serving.request_json import parse_row
from serving.requests import request_rows
from serving.scored import ScoredRow
from serving.served_model import ServedModel
from serving.state_link import StateLink
from serving.verification import load_scorer


def main() -> None:
    """Print microseconds of an answer with its state, and with its past handed in."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("home", type=Path)
    parser.add_argument("name")
    parser.add_argument("data")
    parser.add_argument("--state", help="A redis:// URI; default: a SQLite file of its own.")
    parser.add_argument("--rows", type=int, default=2_000)
    given = parser.parse_args()
    scorer = load_scorer(ModelStore(given.home), given.name)
    contract = scorer.bundle.contract
    table = read_table(given.data)
    last = conform(table.tail(given.rows), contract)
    rows = request_rows(last, contract, scorer.bundle.feature_set.input_types)
    bodies = [msgspec.json.encode(row) for row in rows]
    with TemporaryDirectory() as folder:
        state = open_state(contract, given.state, folder=Path(folder))
        before: pl.DataFrame = table.head(table.height - given.rows)
        backfill(state, History.of(before, contract, name="bench"), source="bench")
        model = ServedModel(scorer, OnlinePath(scorer, StateLink(lambda: state)))
        width = len(contract.velocity_features)
        zeros = np.zeros((1, width))

        def with_state(body: bytes) -> Any:
            return encode(model.answer_rows([parse_row(body)])[0])

        def handed_in(body: bytes) -> Any:
            (row,) = scorer.score_rows([parse_row(body)], zeros)
            return encode(answer(row, scorer)) if isinstance(row, ScoredRow) else None

        alone = _microseconds(handed_in, bodies)
        whole = _microseconds(with_state, bodies)
        model.close()
    print(f"{width} features over time, {len(bodies):,} rows")
    for what, times in (("past handed in", alone), ("with the state", whole)):
        median, p99 = statistics.median(times), statistics.quantiles(times, n=100)[-1]
        print(f"{what}: median {median:,.0f} µs, p99 {p99:,.0f} µs")
    added = statistics.median(whole) - statistics.median(alone)
    print(f"the state adds {added:,.0f} µs, ratio {1 + added / statistics.median(alone):.2f}")


def _microseconds(act: Callable[[bytes], Any], bodies: Sequence[bytes]) -> list[float]:
    act(bodies[0])
    times = []
    for body in bodies:
        begun = time.perf_counter()
        act(body)
        times.append((time.perf_counter() - begun) * 1e6)
    return times


if __name__ == "__main__":
    main()

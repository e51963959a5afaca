"""What features over time are worth: card_stream with and without them, beside boosted trees.

Run as ``python tests/benchmarks/bench_velocity_value.py [--data FOLDER] [--rivals NAME ...]``;
needs the ``trees`` extra and, with all three rivals, half an hour on two cores. The split is the
contract's: in time, with 7-day gaps. Each tree library gets three settings, the network its
default one; early stopping and choice use the validation part. Test rows are read once, at the
end.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
from numpy.typing import NDArray

from balancing.dataset import LabelledArrays
from balancing.metrics.intervals import bootstrap_interval, paired_difference
from balancing.metrics.ranking import average_precision, average_precision_of
from balancing.rivals.registry import build_rival, read_rival
from balancing.strategies.erm import Erm, ErmConfig
from balancing.training_trace import EpochRecord
from features.contract import Contract, read_contract
from features.feature_table import build_feature_table, input_types_of
from flows.fitting import as_arrays, rows_of

AS_OF = datetime(2018, 10, 8, tzinfo=UTC)  # the labels of the last days are known by then
SEED = 0
TREES: dict[str, list[dict[str, Any]]] = {
    "lightgbm": [{"kind": "lightgbm", "n_leaves": leaves} for leaves in (15, 31, 63)],
    "xgboost": [{"kind": "xgboost", "depth": depth} for depth in (4, 6, 8)],
    "catboost": [{"kind": "catboost", "depth": depth} for depth in (4, 6, 8)],
}

FloatArray = NDArray[Any]


@dataclass(frozen=True)
class Parts:
    """Rows of one feature table, by what they are for."""

    train: LabelledArrays
    validation: LabelledArrays
    test: LabelledArrays

    @classmethod
    def of(cls, frame: pl.DataFrame, contract: Contract) -> "Parts":
        table = build_feature_table(
            frame, contract, input_types=input_types_of(frame.schema, contract), as_of=AS_OF
        )
        arrays = as_arrays(table.frame, table.feature_set)
        return cls(*(arrays.take(rows_of(table.frame, part)) for part in cls.__dataclass_fields__))


@dataclass(frozen=True)
class Candidate:
    """A fitted model: what it reached on validation rows, and its test scores, made once."""

    validation: float
    test_scores: Callable[[], FloatArray]


def tell(record: EpochRecord) -> None:
    reached = record.validation_average_precision
    print(f"  epoch {record.epoch}: {reached:.4f} on validation", file=sys.stderr, flush=True)


def network(parts: Parts) -> Candidate:
    fitted = Erm(ErmConfig()).fit(
        parts.train, validation=parts.validation, seed=SEED, on_epoch=tell
    )

    def log_odds(rows: LabelledArrays) -> FloatArray:
        logits: FloatArray = fitted.logits(rows)
        return logits[:, 1] - logits[:, 0]

    reached = average_precision(parts.validation.label, log_odds(parts.validation))
    return Candidate(reached, lambda: log_odds(parts.test))


def best_of(settings: Sequence[dict[str, Any]], parts: Parts) -> Candidate:
    """Return the setting of a tree library that ranks the validation rows best."""
    known = parts.validation
    fitted = [
        build_rival(read_rival(setting)).fit(parts.train, validation=known, seed=SEED)
        for setting in settings
    ]
    tried = [(average_precision(known.label, each.log_odds(known)), each) for each in fitted]
    reached, best = max(tried, key=lambda pair: pair[0])
    return Candidate(reached, lambda: best.log_odds(parts.test))


def timed(name: str, work: Callable[[], Candidate]) -> Candidate:
    started = time.perf_counter()
    candidate = work()
    seconds = time.perf_counter() - started
    print(f"{name}: {candidate.validation:.4f} on validation, {seconds:.0f} s", flush=True)
    return candidate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--rivals", nargs="+", choices=TREES, default=list(TREES))
    chosen = parser.parse_args()
    frame = pl.read_parquet(chosen.data / "card_stream.parquet")
    contract = read_contract("card_stream").resolve(frame.columns)
    stateless = contract.model_copy(update={"velocity": (), "label_rate": ()})
    alone, past = Parts.of(frame, stateless), Parts.of(frame, contract)
    print(
        f"{past.train.numeric.shape[1]} features, {alone.train.numeric.shape[1]} without the past"
    )

    networks = {"network": past, "network, row alone": alone}
    fitted = {name: timed(name, partial(network, parts)) for name, parts in networks.items()}
    rivals = {name: timed(name, partial(best_of, TREES[name], past)) for name in chosen.rivals}
    fitted |= rivals
    best = max(rivals, key=lambda name: rivals[name].validation)

    label = past.test.label
    scores = {name: candidate.test_scores() for name, candidate in fitted.items()}
    print(f"\nTest average precision, {len(label):,} rows ({int(label.sum()):,} positive)")
    for name, score in scores.items():
        print(f"{name:20} {bootstrap_interval(label, score, average_precision_of)}")
    for rival in ("network, row alone", best):
        gain = paired_difference(label, scores["network"], scores[rival], average_precision_of)
        print(f"network less {rival}, paired: {gain}")


if __name__ == "__main__":
    main()

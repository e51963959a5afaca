"""What features over time are worth: card_stream with and without them, beside boosted trees.

Run as ``python tests/benchmarks/bench_velocity_value.py [--data FOLDER] [--rivals NAME ...]``;
needs the ``trees`` extra and, with all three rivals, half an hour on two cores. The split is the
contract's: in time, with 7-day gaps. Each tree library gets three settings, the network its
default one; early stopping and choice use the validation part. Test rows are read once, at the
end.
"""

import argparse
import time
from collections.abc import Callable, Iterator
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
from balancing.strategies.erm import Erm, ErmConfig
from features.contract import Contract, read_contract
from features.feature_table import build_feature_table, input_types_of
from flows.fitting import as_arrays, rows_of

AS_OF = datetime(2018, 10, 8, tzinfo=UTC)  # the labels of the last days are known by then
SEED, MAX_TREES, PATIENCE = 0, 2000, 50

FloatArray = NDArray[Any]
Score = Callable[[FloatArray], FloatArray]


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


def network(parts: Parts) -> Candidate:
    fitted = Erm(ErmConfig()).fit(parts.train, validation=parts.validation, seed=SEED)

    def log_odds(rows: LabelledArrays) -> FloatArray:
        logits: FloatArray = fitted.logits(rows)
        return logits[:, 1] - logits[:, 0]

    reached = average_precision(parts.validation.label, log_odds(parts.validation))
    return Candidate(reached, lambda: log_odds(parts.test))


def lightgbm(parts: Parts) -> Iterator[Score]:
    import lightgbm as gbm

    train = gbm.Dataset(parts.train.numeric, parts.train.label)
    known = gbm.Dataset(parts.validation.numeric, parts.validation.label, reference=train)
    for leaves in (15, 31, 63):
        settings = {
            "objective": "binary", "metric": "average_precision", "learning_rate": 0.05,
            "num_leaves": leaves, "min_child_samples": 50, "seed": SEED, "verbosity": -1,
        }  # fmt: skip
        stop = gbm.early_stopping(PATIENCE, verbose=False)
        model = gbm.train(settings, train, MAX_TREES, valid_sets=[known], callbacks=[stop])
        yield lambda rows, model=model: model.predict(rows)


def xgboost(parts: Parts) -> Iterator[Score]:
    import xgboost as xgb

    for depth in (4, 6, 8):
        model = xgb.XGBClassifier(
            n_estimators=MAX_TREES, max_depth=depth, learning_rate=0.05, min_child_weight=5,
            subsample=0.8, colsample_bytree=0.8, eval_metric="aucpr", tree_method="hist",
            early_stopping_rounds=PATIENCE, random_state=SEED,
        )  # fmt: skip
        known = [(parts.validation.numeric, parts.validation.label)]
        model.fit(parts.train.numeric, parts.train.label, eval_set=known, verbose=False)
        yield lambda rows, model=model: model.predict_proba(rows)[:, 1]


def catboost(parts: Parts) -> Iterator[Score]:
    from catboost import CatBoostClassifier

    for depth in (4, 6, 8):
        model = CatBoostClassifier(
            iterations=MAX_TREES, depth=depth, learning_rate=0.1, eval_metric="PRAUC",
            early_stopping_rounds=PATIENCE, random_seed=SEED, verbose=False,
            allow_writing_files=False,
        )  # fmt: skip
        known = (parts.validation.numeric, parts.validation.label)
        model.fit(parts.train.numeric, parts.train.label, eval_set=known)
        yield lambda rows, model=model: model.predict_proba(rows)[:, 1]


def best_of(settings: Callable[[Parts], Iterator[Score]], parts: Parts) -> Candidate:
    """Return the setting of a tree library that ranks the validation rows best."""
    known = parts.validation
    tried = [
        (average_precision(known.label, score(known.numeric)), score) for score in settings(parts)
    ]
    reached, score = max(tried, key=lambda pair: pair[0])
    return Candidate(reached, lambda: score(parts.test.numeric))


def timed(name: str, work: Callable[[], Candidate]) -> Candidate:
    started = time.perf_counter()
    candidate = work()
    seconds = time.perf_counter() - started
    print(f"{name}: {candidate.validation:.4f} on validation, {seconds:.0f} s", flush=True)
    return candidate


def main() -> None:
    trees = {"lightgbm": lightgbm, "xgboost": xgboost, "catboost": catboost}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--rivals", nargs="+", choices=trees, default=list(trees))
    chosen = parser.parse_args()
    frame = pl.read_parquet(chosen.data / "card_stream.parquet")
    contract = read_contract("card_stream").resolve(frame.columns)
    stateless = contract.model_copy(update={"velocity": (), "label_rate": ()})
    alone, past = Parts.of(frame, stateless), Parts.of(frame, contract)
    print(
        f"{past.train.numeric.shape[1]} features, {alone.train.numeric.shape[1]} without the past"
    )

    rivals = {name: timed(name, partial(best_of, trees[name], past)) for name in chosen.rivals}
    fitted = {
        "network": timed("network", partial(network, past)),
        "network, row alone": timed("network, row alone", partial(network, alone)),
        **rivals,
    }
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

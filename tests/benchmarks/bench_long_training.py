"""What memorises in long training: average precision of unseen rows, epoch by epoch.

Run as ``nice python tests/benchmarks/bench_long_training.py``. One wide network without weight
decay or averaged weights is trained for many epochs on more parameters than rows. Early stopping
takes no part: the figures at the last epoch say who memorises, those at the best epoch what early
stopping would have saved. All is judged on validation and calibration rows, never on test rows.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from balancing.dataset import LabelledArrays
from balancing.memorisation import memorisation_of
from balancing.strategies.registry import build_strategy, read_strategy
from features.contract import read_contract
from features.feature_table import build_feature_table, input_types_of
from features.ingestion.tables import read_table
from flows.fitting import as_arrays, rows_of
from infra.settings import Settings

FILES = {
    "loan_data": "loan_data.parquet",
    "credit_default": "credit_default.parquet",
    "creditcard": "creditcard.parquet",
}
BALANCED: dict[str, Any] = {"kind": "balanced_batches", "prevalence": 0.5}


def meta(rate: float, **more: Any) -> dict[str, Any]:
    """Return MetaBalance with inner steps on natural rows and a balanced outer loss."""
    return {"kind": "metabalance", "inner_learning_rate": rate, "sampling": BALANCED} | more


PLAIN: dict[str, Any] = {"kind": "erm"}
STRATEGIES: dict[str, dict[str, Any]] = {
    "plain": PLAIN,
    "balanced batches": {"kind": "erm", "sampling": BALANCED},
    "positives repeated": {
        "kind": "erm",
        "sampling": {"kind": "oversampled", "prevalence": 0.5},
    },
    "MetaBalance, inner rate 0.1": meta(0.1),
    "MetaBalance, inner rate 1": meta(1.0),
    "MetaBalance, inner rate 1, 4 steps": meta(1.0, n_inner_steps=4),
    "MetaBalance, inner rate 1, second order": meta(1.0, second_order=True),
    "MetaBalance reversed, inner rate 1": {
        "kind": "metabalance",
        "inner_learning_rate": 1.0,
        "inner_sampling": BALANCED,
    },
}


Rows = tuple[LabelledArrays, LabelledArrays, tuple[int, ...]]


@dataclass(frozen=True)
class Outcome:
    """One training: average precision of unseen rows, and losses of positives at the end."""

    best: float
    last: float
    seen_loss: float
    unseen_loss: float


def parts(name: str, data: Path, *, seed: int) -> Rows:
    """Return training rows, validation and calibration rows, and the categories' sizes."""
    contract = read_contract(name)
    frame = read_table(data / FILES[name])
    contract = contract.resolve(frame.columns)
    split = contract.split.model_copy(
        update={"by": "random", "seed": seed, "cuts": None, "column": None}
    )
    contract = contract.model_copy(update={"split": split})
    table = build_feature_table(frame, contract, input_types=input_types_of(frame.schema, contract))
    arrays = as_arrays(table.frame, table.feature_set)
    train, unseen = (
        arrays.take(rows_of(table.frame, *names))
        for names in (("train",), ("validation", "calibration"))
    )
    return train, unseen, table.feature_set.cardinalities


def train(strategy: dict[str, Any], rows: Rows, *, seed: int, n_epochs: int) -> Outcome:
    """Train to the end, whatever the unseen rows say."""
    known, unseen, cardinalities = rows
    config = strategy | {
        "network": {"kind": "mlp", "n_members": 1, "widths": [512, 512]},
        "training": {
            "max_epochs": n_epochs,
            "patience": 10**9,
            "evaluations_per_epoch": 1,
            "average_decay": 0.0,
            "weight_decay": 0.0,
        },
    }
    trace = (
        build_strategy(read_strategy(config))
        .fit(
            known,
            validation=unseen,
            cardinalities=cardinalities,
            seed=seed,
            observer=memorisation_of,
        )
        .trace
    )
    reached = [look.average_precision for look in trace.evaluations]
    end = trace.observations[-1].values
    losses = (end[f"{side}_loss_positive"] for side in ("train", "validation"))
    return Outcome(max(reached), reached[-1], *losses)


def gain(ours: list[Outcome], theirs: list[Outcome]) -> str:
    """Return the mean difference at the last epoch with Student's interval over the seeds."""
    gains = np.array([one.last - other.last for one, other in zip(ours, theirs, strict=True)])
    if len(gains) < 2 or ours is theirs:
        return "–"
    half = stats.t.ppf(0.975, len(gains) - 1) * gains.std(ddof=1) / np.sqrt(len(gains))
    return f"{gains.mean():+.4f} [{gains.mean() - half:+.4f}, {gains.mean() + half:+.4f}]"


def main() -> None:
    """Train everything on every data set, and print a table each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Settings().data_root)
    parser.add_argument("--sets", nargs="+", choices=list(FILES), default=list(FILES))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=60)
    given = parser.parse_args()
    for name in given.sets:
        splits = [parts(name, given.data, seed=seed) for seed in range(given.seeds)]
        found: dict[str, list[Outcome]] = {}
        print(f"#### {name}, {given.epochs} epochs, {given.seeds} splits\n")
        print(
            "| strategy | best epoch | last epoch | last, over plain | last, over balanced batches",
            end=" ",
        )
        print("| loss of positives, seen / unseen |\n| --- | ---: | ---: | ---: | ---: | ---: |")
        for strategy, config in STRATEGIES.items():
            found[strategy] = [
                train(config, rows, seed=seed, n_epochs=given.epochs)
                for seed, rows in enumerate(splits)
            ]
            ours = found[strategy]
            best, last, seen, unseen = (
                np.mean([getattr(each, field) for each in ours])
                for field in Outcome.__dataclass_fields__
            )
            against = [
                gain(ours, found[reference]) if reference in found else "–"
                for reference in ("plain", "balanced batches")
            ]
            cells = [strategy, f"{best:.4f}", f"{last:.4f}", *against, f"{seen:.2f} / {unseen:.2f}"]
            print(f"| {' | '.join(cells)} |", flush=True)
        print()


if __name__ == "__main__":
    main()

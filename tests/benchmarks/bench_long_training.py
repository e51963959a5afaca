"""When the inner step of MetaBalance pays: long training of a large network, never stopped early.

Run as ``nice -n 12 python tests/benchmarks/bench_long_training.py``; about 20 minutes of one
core. What is done stays under ``--home``: the same command goes on after a break. Ensembles with
many more parameters than rows take the same number of steps under every strategy, without weight
decay or averaged weights. The last step says who memorises, the best look at the validation rows
what early stopping would have saved. Test rows take part in no choice; ``--test`` reads them for
the last table.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import thread_time
from typing import Any

import numpy as np
import torch
from scipy import stats

from balancing.batches import ResidentRows
from balancing.dataset import FloatArray as Scores
from balancing.dataset import IntArray, LabelArray, LabelledArrays
from balancing.memorisation import memorisation_of
from balancing.metrics.intervals import mean_paired_difference
from balancing.metrics.ranking import average_precision, average_precision_of
from balancing.networks.network import ScoringNetwork
from balancing.sampling import sample_batches
from balancing.strategies.registry import build_strategy, read_strategy
from balancing.strategies.strategy import FittedNetwork
from balancing.training import Observe
from features.contract import read_contract
from features.feature_table import build_feature_table, input_types_of
from features.ingestion.tables import read_table
from flows.fitting import as_arrays, rows_of
from infra.settings import Settings

N_STEPS = 400
STEPS_A_LOOK = 20
BATCH_SIZE = 64
LEARNING_RATE = 2e-3
EARLY = 0.1
"""Share of the steps after which the figure called early is taken."""
SETTINGS: dict[str, Any] = {
    "network": {
        "kind": "mlp",
        "n_members": 3,
        "widths": [128, 128, 128],
        "numeric": {"kind": "standardise"},
    },
    "training": {
        "batch_size": BATCH_SIZE,
        "learning_rate": LEARNING_RATE,
        "weight_decay": 0.0,
        "average_decay": 0.0,
    },
}
# Whatever learns more slowly has memorised less after as many steps, with or without a meta step.
SLOWER = {
    part: {"training": SETTINGS["training"] | {"learning_rate": LEARNING_RATE / divisor}}
    for part, divisor in (("a third", 3), ("a tenth", 10))
}
RATES = (0.01, 0.1, 1.0)
REFERENCES = ("plain", "balanced batches", "plain, a tenth of the learning rate")


@dataclass(frozen=True)
class Set:
    """Rows to train and judge on.

    Attributes:
        file: In the folder of the data; the contract has the set's name.
        split: What differs from the contract's split; without it the seed draws the rows to
            learn from and leaves the split as it is.
        kept: Positives and negatives of the training part that a seed draws; by default all.
        thinning: Of the negatives that judge, one in so many takes part.
        target: The prevalence between the data's own and one half.
    """

    file: str
    target: float
    split: dict[str, Any] = field(default_factory=dict)
    kept: tuple[int, int] | None = None
    thinning: int = 1


SETS = {
    "loan_data": Set(
        "loan_data.parquet",
        target=0.3,
        split={"by": "random", "fractions": (0.16, 0.1, 0.1, 0.64)},
    ),
    "creditcard": Set("creditcard.parquet", target=0.1, kept=(75, 2_925), thinning=10),
}


@dataclass(frozen=True)
class Parts:
    """The rows of a repetition, the sizes of their categories, and how they were taken."""

    train: LabelledArrays
    validation: LabelledArrays
    test: LabelledArrays
    cardinalities: tuple[int, ...]
    settings: dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """One training: average precision of validation rows, losses of positives at the end.

    Attributes:
        early: Average precision a tenth of the way.
        best: At the look that early stopping would have kept.
        last: At the last step.
        seen_loss: Mean loss of training positives, at the last step.
        unseen_loss: Of validation positives.
        seconds: Of the processor.
    """

    early: float
    best: float
    last: float
    seen_loss: float
    unseen_loss: float
    seconds: float


@dataclass(frozen=True)
class Run:
    """An outcome, and the log odds of the test rows.

    Attributes:
        outcome: On validation rows.
        stopped: Log odds at the best look.
        last: Log odds at the last step.
        label: Of the test rows.
    """

    outcome: Outcome
    stopped: Scores
    last: Scores
    label: LabelArray


def balanced(prevalence: float = 0.5) -> dict[str, Any]:
    """Return batches with the same number of positives each."""
    return {"kind": "balanced_batches", "prevalence": prevalence}


def meta(rate: float, *, steps: int = 1, second: bool = False, reverse: bool = False) -> Any:
    """Return MetaBalance: natural rows inside and balanced ones outside, or the reverse."""
    return {
        "kind": "metabalance",
        "inner_learning_rate": rate,
        "n_inner_steps": steps,
        "second_order": second,
        "inner_sampling" if reverse else "sampling": balanced(),
    }


def strategies(target: float) -> dict[str, dict[str, Any]]:
    """Return what takes part."""
    erm: dict[str, Any] = {"kind": "erm"}
    re_balanced: dict[str, Any] = erm | {"sampling": balanced()}
    return (
        {"plain": erm}
        | {f"plain, {part} of the learning rate": erm | each for part, each in SLOWER.items()}
        | {"balanced batches": re_balanced}
        | {f"balanced batches, {part} of it": re_balanced | each for part, each in SLOWER.items()}
        | {f"batches of prevalence {target}": erm | {"sampling": balanced(target)}}
        | {"no inner step": meta(0.0)}
        | {f"first order, rate {rate:g}": meta(rate) for rate in (*RATES, 3.0)}
        | {f"first order, 5 steps, rate {rate:g}": meta(rate, steps=5) for rate in RATES}
        | {f"second order, rate {rate:g}": meta(rate, second=True) for rate in RATES}
        | {
            f"second order, 5 steps, rate {rate:g}": meta(rate, steps=5, second=True)
            for rate in RATES[1:]
        }
        | {
            f"reversed, first order, rate {rate:g}": meta(rate, reverse=True)
            for rate in (*RATES, 3.0)
        }
        | {"reversed, second order, rate 1": meta(1.0, second=True, reverse=True)}
    )


def parts_of(name: str, data: Path, *, seed: int) -> Parts:
    """Return the rows of a repetition."""
    which, contract = SETS[name], read_contract(name)
    frame = read_table(data / which.file)
    contract = contract.resolve(frame.columns)
    if which.split:
        split = contract.split.model_copy(update=which.split | {"seed": seed})
        contract = contract.model_copy(update={"split": split})
    table = build_feature_table(frame, contract, input_types=input_types_of(frame.schema, contract))
    arrays = as_arrays(table.frame, table.feature_set)
    train, validation, test = (
        rows_of(table.frame, *names)
        for names in (("train",), ("validation", "calibration"), ("test",))
    )
    if which.kept:
        train = drawn(train, arrays.label, which.kept, seed=seed)
    return Parts(
        arrays.take(train),
        arrays.take(thinned(validation, arrays.label, which.thinning)),
        arrays.take(thinned(test, arrays.label, which.thinning)),
        cardinalities=table.feature_set.cardinalities,
        settings={"rows": asdict(which), "seed": seed},
    )


def drawn(rows: IntArray, label: LabelArray, kept: tuple[int, int], *, seed: int) -> IntArray:
    """Return so many positives and negatives among the rows."""
    generator = np.random.default_rng(seed)
    by_class = (rows[label[rows] == value] for value in (1, 0))
    return np.concatenate(
        [generator.choice(each, n, replace=False) for each, n in zip(by_class, kept, strict=True)]
    )


def thinned(rows: IntArray, label: LabelArray, thinning: int) -> IntArray:
    """Return all positives, and one negative in so many: the same ones whatever the seed."""
    negatives = rows[label[rows] == 0][::thinning]
    return np.sort(np.concatenate([rows[label[rows] == 1], negatives]))


class WeightsKept:
    """Looks at a network by keeping a copy of its weights."""

    def __call__(
        self, network: ScoringNetwork, train: ResidentRows, validation: ResidentRows
    ) -> Observe:
        """Return what copies the weights; what memorisation is seen by is kept for the end."""
        self.memorisation = memorisation_of(network, train, validation)
        self.copies: list[dict[str, torch.Tensor]] = []

        def observe() -> dict[str, float]:
            state = network.state_dict()
            self.copies.append({name: value.clone() for name, value in state.items()})
            return {}

        return observe


def train(config: dict[str, Any], parts: Parts, *, seed: int) -> Run:
    """Train to the last step, whatever the validation rows say."""
    n_batches = batches_an_epoch(config, parts.train)
    looks_an_epoch = max(1, round(n_batches / STEPS_A_LOOK))
    training = config["training"] | {"evaluations_per_epoch": looks_an_epoch}
    kept, started = WeightsKept(), thread_time()
    fitted = build_strategy(read_strategy(config | {"training": training})).fit(
        parts.train,
        validation=parts.validation,
        cardinalities=parts.cardinalities,
        n_epochs=N_STEPS / n_batches,
        seed=seed,
        device="cpu",
        observer=kept,
    )
    seconds = thread_time() - started
    end = kept.memorisation()
    looks = fitted.trace.evaluations
    reached = [look.average_precision for look in looks]
    early = min(looks, key=lambda look: abs(look.epochs * n_batches - EARLY * N_STEPS))
    outcome = Outcome(
        early=early.average_precision,
        best=max(reached),
        last=reached[-1],
        seen_loss=end["train_loss_positive"],
        unseen_loss=end["validation_loss_positive"],
        seconds=seconds,
    )
    copies = (kept.copies[int(np.argmax(reached))], kept.copies[-1])
    stopped, last = (log_odds(fitted, copy, parts.test) for copy in copies)
    return Run(outcome, stopped, last, parts.test.label)


def batches_an_epoch(config: dict[str, Any], rows: LabelledArrays) -> int:
    """Return how many steps a strategy calls an epoch."""
    sampling: Any = read_strategy(config)
    label = torch.from_numpy(rows.label).float()
    batches = sample_batches(sampling.sampling, label, batch_size=BATCH_SIZE, n_orders=1, seed=0)
    return batches.n_batches


def log_odds(
    fitted: FittedNetwork, weights: dict[str, torch.Tensor], rows: LabelledArrays
) -> Scores:
    """Return the log odds that a network had for the rows with these weights."""
    fitted.network.load_state_dict(weights)
    logits = fitted.logits(rows)
    return logits[:, 1] - logits[:, 0]


def found_or_trained(file: Path, config: dict[str, Any], parts: Parts, *, seed: int) -> Run:
    """Return what a file keeps of a training with these settings, or train and keep it."""
    settings = json.dumps(config | parts.settings | {"n_steps": N_STEPS})
    if file.exists():
        with np.load(file) as kept:
            if str(kept["settings"]) == settings:
                outcome = Outcome(**json.loads(str(kept["outcome"])))
                return Run(outcome, kept["stopped"], kept["last"], parts.test.label)
    run = train(config, parts, seed=seed)
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part.npz")
    outcome_text = json.dumps(asdict(run.outcome))
    np.savez(part, settings=settings, outcome=outcome_text, stopped=run.stopped, last=run.last)
    part.replace(file)
    print(f"{file.stem}: {run.outcome.last:.4f}, {run.outcome.seconds:.1f} s", file=sys.stderr)
    return run


def run_all(name: str, given: argparse.Namespace) -> dict[str, list[Run]]:
    """Return every strategy's runs, one a seed: all strategies of a seed before the next seed."""
    found: dict[str, list[Run]] = {}
    for seed in range(given.seeds):
        parts = parts_of(name, given.data, seed=seed)
        for strategy, config in strategies(SETS[name].target).items():
            if seed < n_seeds(config, given.seeds):
                words = re.sub(r"[^a-z0-9.]+", "_", strategy)
                file = given.home / "long_training" / f"{name}-{seed}-{words}.npz"
                run = found_or_trained(file, SETTINGS | config, parts, seed=seed)
                found.setdefault(strategy, []).append(run)
    return found


def n_seeds(config: dict[str, Any], most: int) -> int:
    """Return how many seeds a strategy gets: fewer where it is costly or showed no promise."""
    rate = config.get("inner_learning_rate", RATES[-1])
    if config.get("n_inner_steps", 1) > 1 and (config["second_order"] or rate < RATES[-1]):
        return min(2, most)
    is_short = config.get("second_order", False) or rate == RATES[0]
    return min(3, most) if is_short else most


@dataclass(frozen=True)
class Figure:
    """A column of a table.

    Attributes:
        title: Of the column.
        of: The figure of one run.
        scores: Of the test rows that it is the average precision of, if it is.
        digits: Behind the point.
        is_compared: Whether differences from the references are printed as well.
    """

    title: str
    of: Callable[[Run], float]
    scores: str | None = None
    digits: int = 4
    is_compared: bool = False

    @classmethod
    def on_test_rows(cls, title: str, scores: str) -> "Figure":
        """Return the average precision of test rows."""
        return cls(
            title,
            lambda run: average_precision(run.label, getattr(run, scores)),
            scores=scores,
            is_compared=True,
        )


ROWS = {
    "validation": (
        Figure("early", lambda run: run.outcome.early),
        Figure("best", lambda run: run.outcome.best),
        Figure("last", lambda run: run.outcome.last, is_compared=True),
        Figure("drop", lambda run: run.outcome.best - run.outcome.last),
        Figure("loss of positives seen", lambda run: run.outcome.seen_loss, digits=2),
        Figure("unseen", lambda run: run.outcome.unseen_loss, digits=2),
        Figure("s", lambda run: run.outcome.seconds, digits=1),
    ),
    "test": (
        Figure.on_test_rows("stopped", "stopped"),
        Figure.on_test_rows("last", "last"),
    ),
}


def markdown(found: dict[str, list[Run]], figures: Sequence[Figure]) -> str:
    """Return a table: means over the seeds, then paired differences."""
    compared = [
        (each, reference) for each in figures if each.is_compared for reference in REFERENCES
    ]
    header = ["strategy", "seeds", *(each.title for each in figures)]
    header += [f"{each.title}, over {reference}" for each, reference in compared]
    rows = [header, ["---", *["---:"] * (len(header) - 1)]]
    for strategy, runs in found.items():
        means = [f"{np.mean([each.of(run) for run in runs]):.{each.digits}f}" for each in figures]
        gains = [
            "–" if strategy == reference else gain(each, runs, found[reference])
            for each, reference in compared
        ]
        rows.append([strategy, str(len(runs)), *means, *gains])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def gain(figure: Figure, ours: list[Run], theirs: list[Run]) -> str:
    """Return the mean paired difference with 95 % intervals.

    Student's over the seeds, and where all seeds have the same test rows a bootstrap of the rows.
    """
    pairs = list(zip(ours, theirs, strict=False))  # costly strategies have fewer seeds
    if len(pairs) < 2:
        return "–"
    gains = np.array([figure.of(one) - figure.of(other) for one, other in pairs])
    half = stats.t.ppf(0.975, len(gains) - 1) * gains.std(ddof=1) / np.sqrt(len(gains))
    text = f"{gains.mean():+.4f} [{gains.mean() - half:+.4f}, {gains.mean() + half:+.4f}]"
    label = ours[0].label
    if figure.scores is None or any(not np.array_equal(run.label, label) for run in ours):
        return text
    mine, others = (
        [getattr(run, figure.scores) for run in side] for side in zip(*pairs, strict=True)
    )
    rows = mean_paired_difference(label, mine, others, average_precision_of, n_replicates=500)
    return f"{text}, rows [{rows.low:+.4f}, {rows.high:+.4f}]"


def main() -> None:
    """Train everything on every data set, and print the tables."""
    settings = Settings()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=settings.data_root)
    parser.add_argument("--home", type=Path, default=settings.root)
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--test", action="store_true", help="read the test rows, once, at the end")
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name in given.sets:
        found = run_all(name, given)
        for rows, figures in ROWS.items():
            if rows != "test" or given.test:
                print(f"#### {name}, {rows} rows\n\n{markdown(found, figures)}\n", flush=True)


if __name__ == "__main__":
    main()

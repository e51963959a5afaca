"""Every bake-off of balancing/README.md: strategies, their ablations and rivals on real rows.

Run as ``nice python tests/benchmarks/bench_bakeoffs.py``; needs the ``trees`` extra and hours on
two cores. What is done stays under ``--home``: the same command goes on after a break, and prints
the tables anew. ``--sets`` picks some of them. A wide field takes part with its defaults; the
tuned tables are of fewer, with as many settings for trees as for networks.
"""

import argparse
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from sklearn.model_selection import train_test_split

from flows.bakeoff.plan import BakeOffPlan, Job, JobResult, bakeoff_plan
from flows.bakeoff.run import BakeOff, run_bakeoff
from flows.bakeoff.standing import Standing
from infra.settings import Settings

TREES = ("lightgbm", "xgboost", "catboost")
NETWORKS = ("erm", "tabm", "metabalance", "eos")
FIELD = (
    *NETWORKS,
    "sam_a", "vs_loss", "metabalance_reversed",
    "metabalance_balanced", "metabalance_no_inner", "metabalance_same_batch",
    "eos_half", "eos_smote", "crt", "ldam_drw", "focal", "class_balanced",
    "balanced_batches", "random_under", "smote", "adasyn", "nearmiss", "balanced_bagging",
    *TREES, "balanced_forest", "logistic",
)  # fmt: skip
SHORT_FIELD = ("erm", "metabalance", "eos", "random_under", "smote", *TREES, "logistic")
TUNED = ("erm", "metabalance", "eos", *TREES)
RESAMPLING = (
    "erm", "metabalance", "eos", "crt", "balanced_batches", "undersampled", "oversampled",
    "balanced_bagging", "random_under", "smote", "borderline_smote", "svm_smote", "adasyn",
    "smoteenn", "nearmiss", "allknn", "cluster_centroids", "logistic",
)  # fmt: skip
PAPER_CONTRACT = str(Path(__file__).with_name("loan_data_paper.toml"))
_CAP_SECONDS = 7200.0  # on the clock, and other work may slow a fit down

PRESETS = tuple(
    f"balancing/presets/metabalance_replication_loan{ablation}.toml"
    for ablation in ("", "_no_inner_step", "_same_batch")
)


@dataclass(frozen=True)
class Set:
    """One bake-off.

    Attributes:
        title: Heading of its table.
        file: In the folder of the data.
        contract: Name of a shipped one, or a path.
        strategies: Who takes part.
        values: More of the plan.
    """

    title: str
    file: str
    contract: str
    strategies: tuple[str, ...]
    values: dict[str, Any]


SETS = {
    "loan_data_paper": Set(
        "loan_data, the paper's own test rows, five starts",
        "loan_data.parquet", PAPER_CONTRACT,
        ("erm", "metabalance", *PRESETS, "eos", "crt", "random_under", "smote", *TREES, "logistic"),
        {"n_seeds": 5},
    ),
    "loan_data": Set(
        "loan_data, four stratified splits, every re-sampler",
        "loan_data.parquet", "loan_data", RESAMPLING, {"n_seeds": 4},
    ),
    "loan_data_tuned": Set(
        "loan_data, five stratified splits, tuned",
        "loan_data.parquet", "loan_data", TUNED, {"n_seeds": 5, "n_trials": 3},
    ),
    "credit_default": Set(
        "credit_default, five stratified splits",
        "credit_default.parquet", "credit_default", FIELD, {"n_seeds": 5},
    ),
    "credit_default_tuned": Set(
        "credit_default, five stratified splits, tuned",
        "credit_default.parquet", "credit_default", TUNED, {"n_seeds": 5, "n_trials": 3},
    ),
    "lending_club": Set(
        "lending_club, in time",
        "lending_club_2018.parquet", "lending_club", FIELD, {},
    ),
    "lending_club_tuned": Set(
        "lending_club, in time, tuned",
        "lending_club_2018.parquet", "lending_club", TUNED, {"n_trials": 3},
    ),
    "creditcard": Set(
        "creditcard, in time",
        "creditcard.parquet", "creditcard", SHORT_FIELD, {},
    ),
    "creditcard_tuned": Set(
        "creditcard, in time, tuned",
        "creditcard.parquet", "creditcard", TUNED, {"n_trials": 3},
    ),
    "creditcard_random": Set(
        "creditcard, five stratified splits",
        "creditcard.parquet", "creditcard", ("erm", *TREES), {"n_seeds": 5, "split": "random"},
    ),
    "card_stream": Set(
        "card_stream, in time",
        "card_stream.parquet", "card_stream", SHORT_FIELD, {"as_of": "2018-10-08"},
    ),
}  # fmt: skip


def paper_split(data: Path, path: Path) -> Path:
    """Write loan_data with the test rows of the MetaBalance authors' code, and return its path.

    Validation and calibration rows come out of their training rows.
    """
    frame = pl.read_parquet(data)
    known, test = train_test_split(np.arange(len(frame)), test_size=0.2, random_state=0)
    _, held_back = train_test_split(known, test_size=0.25, random_state=0)
    part = np.full(len(frame), "train", dtype=object)
    part[held_back[::2]], part[held_back[1::2]], part[test] = "validation", "calibration", "test"
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.with_columns(part=pl.Series(part, dtype=pl.String)).write_parquet(path)
    return path


def plan_of(name: str, data: Path, home: Path) -> BakeOffPlan:
    """Return the plan of a bake-off."""
    each = SETS[name]
    table = data / each.file
    if each.contract == PAPER_CONTRACT:
        table = paper_split(table, home / "bakeoffs" / f"{name}.parquet")
    values = {"as_of": None, "seconds_cap": _CAP_SECONDS} | each.values
    return bakeoff_plan(
        config=None, data=str(table), contract=each.contract, strategies=each.strategies, **values
    )


def run(name: str, settings: Settings, *, data: Path, cores: int) -> BakeOff:
    """Run a bake-off, or find what is done of it."""

    def tell(job: Job, result: JobResult, left: int, found: bool) -> None:
        if not found:
            reached = result.validation_average_precision
            print(f"{name}: {job.name}: {reached or result.why_not}, {left} left", flush=True)

    return run_bakeoff(
        plan_of(name, data, settings.root), settings, n_cores=cores, actor="bench", on_done=tell
    )


def markdown(title: str, found: BakeOff) -> str:
    """Return the table of a bake-off."""
    header = (
        "strategy", "validation", "average precision", "over plain training", "over the best tree",
        "ROC-AUC", "recall at FPR 0.1 %", "at 1 %", "precision at 100", "Brier", "ECE",
        "fit, s", "last fit, s", "MiB",
    )  # fmt: skip
    rows = [_row(each, found) for each in found.standings]
    rule = ["---", *["---:"] * (len(header) - 1)]
    lines = [f"| {' | '.join(row)} |" for row in (header, rule, *rows)]
    label = found.standings[0].runs[0].label
    plan = found.plan
    counts = (
        f"{plan.n_seeds} repetitions, {plan.n_trials} settings each, {len(label):,} test rows, "
        f"{label.sum():,} positive."
    )
    return "\n".join((f"#### {title}", counts, "", *lines, ""))


def _row(standing: Standing, found: BakeOff) -> list[str]:
    name = standing.member.name
    if not standing.runs:
        return [name, f"did not finish: {standing.why_not}", *[""] * 12]
    results = [run.result for run in standing.runs]
    deviation = standing.deviation("average_precision")
    spread = "" if np.isnan(deviation) else f" ± {deviation:.3f}"
    return [
        name,
        f"{standing.validation:.4f}",
        f"{standing.mean('average_precision'):.4f}{spread}",
        *(_gain(found.against[name].get(whom)) for whom in ("erm", "tree")),
        f"{standing.mean('roc_auc'):.4f}",
        *(f"{standing.mean(f'recall_at_fpr_{rate}'):.3f}" for rate in ("0.001", "0.01")),
        f"{standing.mean('precision_at_100'):.2f}",
        f"{standing.mean('brier_score'):.6f}",
        f"{standing.mean('expected_calibration_error'):.5f}",
        _mean(each.fit_seconds for each in results),
        _mean(each.final_seconds for each in results),
        f"{max(each.peak_bytes or 0 for each in results) / 2**20:,.0f}",
    ]


def _gain(gain: Any) -> str:
    return f"{gain.value:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]" if gain else "–"


def _mean(values: Iterable[float | None]) -> str:
    return f"{np.mean([value or 0.0 for value in values]):.1f}"


def main() -> None:
    """Run the bake-offs, and print their tables."""
    settings = Settings()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, default=settings.root)
    parser.add_argument("--data", type=Path, default=settings.data_root)
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--cores", type=int, default=2)
    given = parser.parse_args()
    settings = Settings(home=given.home)
    for name in given.sets:
        found = run(name, settings, data=given.data, cores=given.cores)
        print(markdown(SETS[name].title, found), flush=True)


if __name__ == "__main__":
    main()

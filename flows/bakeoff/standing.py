"""Where each member stands: the chosen trial of every seed, judged on test rows."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import stats

from balancing.calibration.fitting.calibrators import fit_calibrator
from balancing.evaluation import evaluate
from balancing.metrics.intervals import Interval, mean_paired_difference
from balancing.metrics.ranking import average_precision_of
from flows.bakeoff.members import Member
from flows.bakeoff.plan import Job, JobResult
from flows.run_config import AUTO, AUTO_MEMBERS

FloatArray = NDArray[np.float64]

JUDGED_METRICS = (
    "average_precision",
    "roc_auc",
    "recall_at_fpr_0.001",
    "recall_at_fpr_0.01",
    "precision_at_100",
    "precision_at_n_positives",
    "brier_score",
    "log_loss",
    "expected_calibration_error",
)


@dataclass(frozen=True, slots=True)
class Run:
    """The chosen trial of a member in one repetition.

    Attributes:
        seed: Repetition.
        trial: Number of the chosen trial.
        result: What became of it.
        n_finished: Trials that finished.
        label: Of the test rows.
        risk_score: Calibrated on calibration rows.
        metrics: On test rows; those of :data:`JUDGED_METRICS` that are defined.

    Shape:
        ``(n_test,)`` each
    """

    seed: int
    trial: int
    result: JobResult
    n_finished: int
    label: NDArray[np.int8]
    risk_score: FloatArray
    metrics: dict[str, float]


@dataclass(frozen=True)
class Standing:
    """A member over all repetitions.

    Attributes:
        member: Who.
        runs: One a repetition; empty where any did not finish.
        why_not: In one line, where there are no runs.
    """

    member: Member
    runs: tuple[Run, ...]
    why_not: str | None = None

    def mean(self, metric: str) -> float:
        """Return the mean of a metric over the repetitions; NaN where it has none."""
        values = [run.metrics[metric] for run in self.runs if metric in run.metrics]
        return float(np.mean(values)) if values else float("nan")

    def deviation(self, metric: str) -> float:
        """Return the standard deviation over the repetitions; NaN with fewer than two."""
        values = [run.metrics[metric] for run in self.runs if metric in run.metrics]
        return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")

    @cached_property
    def validation(self) -> float:
        """Mean validation average precision: what may be chosen by."""
        return float(np.mean([run.result.validation_average_precision for run in self.runs]))


def stand(
    member: Member,
    jobs: Sequence[Job],
    results: Mapping[str, JobResult],
    tables: Mapping[int, pl.DataFrame],
) -> Standing:
    """Choose each repetition's trial on validation rows, and judge it on test rows.

    Args:
        member: Who.
        jobs: Its jobs.
        results: By job name.
        tables: Of each seed, the feature table's labels by row.
    """
    runs = []
    for seed in sorted(tables):
        done = [(job, results[job.name]) for job in jobs if job.seed == seed]
        finished = [(job, result) for job, result in done if result.finished]
        if not finished:
            return Standing(member, (), why_not=done[0][1].why_not)
        job, result = max(finished, key=lambda pair: pair[1].validation_average_precision or 0)
        runs.append(_judged(job, result, len(finished), tables[seed]))
    return Standing(member, tuple(runs))


def _judged(job: Job, result: JobResult, n_finished: int, table: pl.DataFrame) -> Run:
    logits = pl.read_parquet(job.logits_file)
    logits = logits.with_columns(label=table["label"][logits["row"]].cast(pl.Int8))
    calibration, test = (logits.filter(part=part) for part in ("calibration", "test"))
    fitted = fit_calibrator(calibration["log_odds"], calibration["label"], seed=job.seed)
    label, log_odds = test["label"].to_numpy(), test["log_odds"].to_numpy()
    risk_score = fitted.calibrator.apply(log_odds)
    report = evaluate(label, risk_score, n_replicates=1)
    metrics = {name: value for name, value in report.values().items() if name in JUDGED_METRICS}
    return Run(job.seed, job.trial, result, n_finished, label, risk_score, metrics)


def difference(ours: Standing, theirs: Standing) -> Interval | None:
    """Return how much higher our average precision is, paired; ``None`` where one has no runs.

    Where every repetition has the same test rows, the interval is a bootstrap of those rows.
    Where each repetition is another split, it is Student's over the repetitions' differences;
    as the splits share rows, it is narrower than what new data would bring.
    """
    if not ours.runs or not theirs.runs:
        return None
    pairs = list(zip(ours.runs, theirs.runs, strict=True))
    if all(np.array_equal(run.label, ours.runs[0].label) for run, _ in pairs):
        return mean_paired_difference(
            ours.runs[0].label,
            [run.risk_score for run, _ in pairs],
            [run.risk_score for _, run in pairs],
            average_precision_of,
        )
    name = "average_precision"
    gains = np.array([mine.metrics[name] - other.metrics[name] for mine, other in pairs])
    half = stats.t.ppf(0.975, len(gains) - 1) * gains.std(ddof=1) / np.sqrt(len(gains))
    return Interval(float(gains.mean()), float(gains.mean() - half), float(gains.mean() + half))


def as_auto(standings: Sequence[Standing]) -> Standing | None:
    """Return what ``train --strategy auto`` would release: each repetition's best on validation.

    Args:
        standings: Every member's; those that ``auto`` tries by default take part.

    Returns:
        ``None`` with fewer than two of them.
    """
    tried = [each for each in standings if each.member.name in AUTO_MEMBERS and each.runs]
    if len(tried) < 2:
        return None
    names = ", ".join(each.member.name for each in tried)
    about = f"What validation prefers in each repetition, of {names}."
    runs = tuple(max(runs, key=_reached) for runs in zip(*(e.runs for e in tried), strict=True))
    return Standing(Member(name=AUTO, strategy={}, about=about), runs)


def _reached(run: Run) -> float:
    return run.result.validation_average_precision or 0.0


def best_tree(standings: Sequence[Standing]) -> Standing | None:
    """Return the tree with the best validation average precision, if any took part."""
    trees = [each for each in standings if each.member.family == "tree" and each.runs]
    return max(trees, key=lambda each: each.validation, default=None)


def rows_of_results(
    standings: Sequence[Standing], against: Mapping[str, Mapping[str, Interval | None]]
) -> pl.DataFrame:
    """Return one row a member and repetition, with everything measured; the Parquet file.

    Args:
        standings: Every member's.
        against: Differences by member and by whom they are against.
    """
    rows: list[dict[str, Any]] = []
    for standing in standings:
        shared: dict[str, Any] = {
            "member": standing.member.name,
            "family": standing.member.family,
        }
        for whom, gap in (against.get(standing.member.name) or {}).items():
            for end in ("value", "low", "high"):
                shared[f"gain_over_{whom}_{end}"] = getattr(gap, end, None)
        if not standing.runs:
            rows.append({**shared, "finished": False, "why_not": standing.why_not})
        rows.extend({**shared, **_row(run)} for run in standing.runs)
    return pl.from_dicts(rows, infer_schema_length=None)


def _row(run: Run) -> dict[str, Any]:
    return {
        "finished": True,
        "seed": run.seed,
        "trial": run.trial,
        "trials_finished": run.n_finished,
        "validation_average_precision": run.result.validation_average_precision,
        **run.metrics,
        "fit_seconds": run.result.fit_seconds,
        "final_seconds": run.result.final_seconds,
        "peak_bytes": run.result.peak_bytes,
        "revision": run.result.revision,
        "strategy": json.dumps(run.result.strategy, sort_keys=True),
    }

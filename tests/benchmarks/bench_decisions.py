"""How fast a policy decides: a million rows at once, and one row at a time.

Once with one threshold for all rows, once with a review threshold by each row's amount and a
decline threshold by its segment.

Run ``python -m tests.benchmarks.bench_decisions`` or the file itself; figures are printed.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from balancing.calibration.calibrator import PlattCalibrator
from balancing.calibration.fitting.policy import fit_policy
from balancing.calibration.policy import Policy
from balancing.calibration.post_processing.class_dependent import ClassDependentTemperatures
from balancing.evaluation import evaluate

N_ROWS = 1_000_000
N_CALIBRATION, N_POSITIVES = 60_000, 120
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


def main() -> None:
    """Print each figure on a line of its own."""
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


if __name__ == "__main__":
    main()

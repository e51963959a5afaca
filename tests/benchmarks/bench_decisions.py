"""How fast a policy decides: a million rows at once, and one row at a time.

Run ``python -m tests.benchmarks.bench_decisions`` or the file itself; figures are printed.
"""

import time

import numpy as np

from balancing.calibration.calibrator import PlattCalibrator
from balancing.calibration.fitting.policy import fit_policy
from balancing.calibration.policy import Policy
from balancing.calibration.post_processing.class_dependent import ClassDependentTemperatures
from balancing.evaluation import evaluate

N_ROWS = 1_000_000
N_CALIBRATION, N_POSITIVES = 60_000, 120


def make_logits(n_rows: int, seed: int) -> np.ndarray:
    """Antisymmetric float32 logits of mostly negative rows."""
    odds = np.random.default_rng(seed).normal(-7, 2, n_rows)
    return np.stack([-odds / 2, odds / 2], axis=1).astype(np.float32)


def fit_some_policy() -> tuple[Policy, float]:
    """A policy with both thresholds, and the seconds it took."""
    rng = np.random.default_rng(0)
    label = rng.permutation(np.arange(N_CALIBRATION) < N_POSITIVES)
    odds = rng.normal(-7, 2, N_CALIBRATION) + 6 * label
    started = time.perf_counter()
    policy = fit_policy(
        np.stack([-odds / 2, odds / 2], axis=1).astype(np.float32),
        label,
        amount_minor=rng.integers(100, 90_000, N_CALIBRATION),
        event_time=np.datetime64("2018-01-01", "s") + np.arange(N_CALIBRATION),
        settings={
            "review": {"objective": "cost", "review_cost": 5},
            "decline": {"objective": "min_precision", "min_precision": 0.9},
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


def best_of(n_times: int, policy: Policy, logits: np.ndarray) -> float:
    """Least seconds of several calls."""
    seconds = []
    for _ in range(n_times):
        started = time.perf_counter()
        policy.apply(logits)
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def main() -> None:
    """Print each figure on a line of its own."""
    policy, fit_seconds = fit_some_policy()
    print(f"fit a policy on {N_CALIBRATION:,} rows: {fit_seconds:.2f} s ({policy.calibrator.kind})")
    logits = make_logits(N_ROWS, seed=1)
    print(f"decide {N_ROWS:,} rows: {best_of(5, policy, logits):.3f} s")
    print(f"decide 1 row: {1e6 * best_of(2000, policy, logits[:1]):.0f} microseconds")
    label = np.random.default_rng(2).random(350_000) < 500 / 350_000
    score = PlattCalibrator(slope=1.0, intercept=0.0).apply(
        logits[: len(label), 1].astype(np.float64) * 2 + 5 * label
    )
    started = time.perf_counter()
    evaluate(label, score, amount_minor=np.ones(len(label)))
    print(f"evaluate 350,000 rows with intervals: {time.perf_counter() - started:.2f} s")


if __name__ == "__main__":
    main()

"""Tuned thresholds: worked cases, monotone objectives, Elkan's closed form, what is feasible."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balancing.calibration.fitting.calibrators import CalibrationError
from balancing.calibration.fitting.thresholds import tune_threshold
from balancing.metrics.operating_point import false_positive_rate_at, precision_at, recall_at
from infra.objectives import (
    AlertBudgetObjective,
    CostObjective,
    MaxFprObjective,
    MinPrecisionObjective,
    MinRecallObjective,
)

LABEL = np.array([1, 0, 1, 0, 0, 1, 0, 0, 0, 0])
SCORE = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0])
FEW = {"n_replicates": 20}


def scored(seed: int, n_rows: int = 3000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Calibrated scores, rounded so that some tie, with labels and amounts."""
    rng = np.random.default_rng(seed)
    score = np.round(rng.beta(0.3, 3.0, n_rows), 3)
    label = (rng.random(n_rows) < score).astype(np.int64)
    return label, score, rng.integers(1000, 50_000, n_rows)


def lowest(objective: Any, seed: int = 0, **options: Any) -> float:
    """The tuned threshold, infinite where there is none."""
    label, score, amount = scored(seed)
    tuned = tune_threshold(label, score, objective, amount_minor=amount, days=10, **(FEW | options))
    return tuned.lowest_score


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        (MaxFprObjective(max_fpr=1 / 7), 0.65),  # one negative, 0.8, may alert
        (MaxFprObjective(max_fpr=0.1), 0.85),  # none may
        (MinPrecisionObjective(min_precision=0.6), 0.65),  # 2 of 3
        (MinPrecisionObjective(min_precision=0.5), 0.35),  # 3 of 6
        (MinRecallObjective(min_recall=0.6), 0.65),
        (MinRecallObjective(min_recall=1.0), 0.35),
        (AlertBudgetObjective(alerts_per_day=2), 0.55),  # four alerts in two days
        (AlertBudgetObjective(alerts_per_day=2, rows_per_day=2.5), 0.15),  # eight in four
    ],
)
def test_worked_thresholds_lie_halfway_below_the_last_alert(
    objective: Any, expected: float
) -> None:
    tuned = tune_threshold(LABEL, SCORE, objective, days=2, **FEW)

    assert tuned.threshold == pytest.approx(expected)


def test_worked_cost_threshold() -> None:
    """Catching 100.00 for two reviews at 10 pays; the next 5.00 needs two more at 10 each."""
    amount = np.array([3000, 0, 7000, 0, 0, 500, 0, 0, 0, 0])
    tuned = tune_threshold(LABEL, SCORE, CostObjective(review_cost=10), amount_minor=amount, **FEW)

    assert tuned.threshold == pytest.approx(0.65)
    assert tuned.achieved.total_cost == pytest.approx(3 * 10 + 5)


def test_the_last_row_may_alert_too() -> None:
    tuned = tune_threshold(LABEL, SCORE, MaxFprObjective(max_fpr=1.0), **FEW)

    assert tuned.threshold == 0.0
    assert tuned.achieved.alert_rate == 1.0


grid = st.floats(0.01, 0.99)


@settings(max_examples=40)
@given(st.tuples(grid, grid).map(sorted), st.integers(0, 3))
def test_thresholds_are_monotone_in_their_objective(limits: list[float], seed: int) -> None:
    small, large = limits

    assert lowest(MaxFprObjective(max_fpr=small), seed) >= lowest(
        MaxFprObjective(max_fpr=large), seed
    )
    assert lowest(MinPrecisionObjective(min_precision=small), seed) <= lowest(
        MinPrecisionObjective(min_precision=large), seed
    )
    assert lowest(MinRecallObjective(min_recall=small), seed) >= lowest(
        MinRecallObjective(min_recall=large), seed
    )
    assert lowest(AlertBudgetObjective(alerts_per_day=small * 290), seed) >= lowest(
        AlertBudgetObjective(alerts_per_day=large * 290), seed
    )
    assert lowest(CostObjective(review_cost=small * 100), seed) <= lowest(
        CostObjective(review_cost=large * 100), seed
    )


@settings(max_examples=40)
@given(grid, st.integers(0, 5))
def test_a_met_constraint_holds_on_the_calibration_rows(limit: float, seed: int) -> None:
    label, score, _ = scored(seed)
    at = {
        "fpr": tune_threshold(label, score, MaxFprObjective(max_fpr=limit), **FEW),
        "precision": tune_threshold(
            label, score, MinPrecisionObjective(min_precision=limit), **FEW
        ),
        "recall": tune_threshold(label, score, MinRecallObjective(min_recall=limit), **FEW),
    }

    assert false_positive_rate_at(label, score, threshold=at["fpr"].lowest_score) <= limit
    assert recall_at(label, score, threshold=at["recall"].lowest_score) >= limit
    if at["precision"].threshold is not None:
        assert precision_at(label, score, threshold=at["precision"].threshold) >= limit


@pytest.mark.parametrize(("review", "friction"), [(20.0, 0.0), (5.0, 10.0)])
def test_constant_costs_give_elkans_threshold(review: float, friction: float) -> None:
    """With one amount A: alert when p >= (review + friction) / (A loss_rate + friction)."""
    rng = np.random.default_rng(0)
    score = rng.beta(0.4, 2.0, 400_000)
    label = rng.random(len(score)) < score
    objective = CostObjective(review_cost=review, loss_rate=0.8, friction_cost=friction)
    tuned = tune_threshold(
        label, score, objective, amount_minor=np.full(len(score), 10_000), n_replicates=100
    )
    closed_form = (review + friction) / (100 * 0.8 + friction)

    assert tuned.threshold == pytest.approx(closed_form, abs=0.02)
    assert tuned.interval.low - 0.01 <= closed_form <= tuned.interval.high + 0.01


def test_what_is_achieved_is_what_the_threshold_does() -> None:
    label, score, _ = scored(1)
    tuned = tune_threshold(label, score, MaxFprObjective(max_fpr=0.02), days=10, **FEW)
    at = tuned.lowest_score

    assert tuned.achieved.n_alerts == (score >= at).sum()
    assert tuned.achieved.recall == recall_at(label, score, threshold=at)
    assert tuned.achieved.precision == precision_at(label, score, threshold=at)
    assert tuned.achieved.alerts_per_day == pytest.approx((score >= at).sum() / 10)
    assert tuned.achieved.total_cost is None


def test_the_interval_holds_the_threshold_and_follows_the_seed() -> None:
    label, score, _ = scored(2)
    score = score + 1e-6 * np.arange(len(score))  # without ties no two resamples agree
    first, again, other = (
        tune_threshold(label, score, MaxFprObjective(max_fpr=0.01), seed=seed).interval
        for seed in (0, 0, 1)
    )

    assert first.low <= first.value <= first.high
    assert first.low < first.high
    assert first == again != other


def test_the_interval_of_a_max_fpr_is_that_of_a_quantile_of_the_negatives() -> None:
    """Order statistics: the 1 % quantile of 20,000 uniform scores has sd sqrt(.01 .99 / n)."""
    rng = np.random.default_rng(3)
    score, label = rng.random(20_010), np.arange(20_010) < 10
    interval = tune_threshold(
        label, score, MaxFprObjective(max_fpr=0.01), n_replicates=2000
    ).interval
    expected = 2 * 1.96 * np.sqrt(0.01 * 0.99 / 20_000)

    assert interval.high - interval.low == pytest.approx(expected, rel=0.25)


@pytest.mark.parametrize(
    ("label", "score", "objective", "reason"),
    [
        (
            [0, 1, 1, 0],
            [0.9, 0.8, 0.7, 0.6],
            MinPrecisionObjective(min_precision=0.9),
            "min_precision of 0.9 cannot be met: the highest precision of any threshold is 0.667",
        ),
        (
            [0, 1, 0, 0],
            [0.9, 0.9, 0.7, 0.6],
            MaxFprObjective(max_fpr=0.1),
            "the 2 rows that share the highest score have 0.333",
        ),
        (
            [0, 1, 0, 0],
            [0.9, 0.9, 0.7, 0.6],
            AlertBudgetObjective(alerts_per_day=0.5),
            "2 rows share the highest score, 1 a day",
        ),
        (
            [0, 1, 0, 0],
            [0.9, 0.8, 0.7, 0.6],
            CostObjective(review_cost=500),
            "alerting on nothing costs 1, less than any threshold",
        ),
    ],
)
def test_an_infeasible_objective_says_what_is_feasible(
    label: list[int], score: list[float], objective: Any, reason: str
) -> None:
    tuned = tune_threshold(label, score, objective, amount_minor=[100] * 4, days=2, **FEW)

    assert tuned.threshold is None
    assert tuned.lowest_score == np.inf
    assert reason in tuned.reason
    assert tuned.achieved.n_alerts == 0
    assert np.isnan(tuned.achieved.precision)


@pytest.mark.parametrize(
    ("objective", "options", "message"),
    [
        (CostObjective(review_cost=1), {}, "The cost objective needs amounts"),
        (AlertBudgetObjective(alerts_per_day=1), {}, "needs the length of the period"),
        (
            AlertBudgetObjective(alerts_per_day=6),
            {"days": 2},
            "must be below the traffic of 5 rows a day. Got alerts_per_day=6",
        ),
    ],
)
def test_an_objective_without_what_it_needs_is_refused(
    objective: Any, options: dict[str, float], message: str
) -> None:
    with pytest.raises(CalibrationError, match=message):
        tune_threshold(LABEL, SCORE, objective, **options)


def test_a_missing_class_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one positive"):
        tune_threshold([0, 0], [0.1, 0.2], MaxFprObjective(max_fpr=0.1))
    with pytest.raises(ValueError, match="at least one negative"):
        tune_threshold([1, 1], [0.1, 0.2], MaxFprObjective(max_fpr=0.1))

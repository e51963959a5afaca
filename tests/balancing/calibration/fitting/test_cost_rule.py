"""Cost thresholds by amount: what they achieve, what they save, and what they promise."""

import numpy as np
import pytest

from balancing.calibration.fitting.cost_rule import by_amount
from balancing.calibration.fitting.operating_points import Period
from balancing.calibration.fitting.thresholds import tune_threshold
from balancing.calibration.thresholds import TunedThreshold
from infra.objectives import CostObjective

REVIEW_OF_FIVE = CostObjective(review_cost=5)


def tuned(
    label: np.ndarray,
    score: np.ndarray,
    amount: np.ndarray,
    objective: CostObjective,
    seed: int = 0,
) -> tuple[TunedThreshold, TunedThreshold]:
    """The best single threshold, and the same by amount."""
    single = tune_threshold(label, score, objective, amount_minor=amount, n_replicates=20)
    return single, by_amount(single, label, score, Period(amount), seed=seed)


def calibrated(n_rows: int = 50_000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    score = rng.beta(0.05, 2.0, n_rows)
    label = (rng.random(n_rows) < score).astype(np.int64)
    return label, score, rng.lognormal(8, 1.5, n_rows).astype(np.int64)


def test_worked_decisions_and_costs() -> None:
    """From 0.05 for 100.00, from 0.5 for 10.00: the first two rows alert, one of them rightly."""
    label, score = np.array([1, 0, 1, 0]), np.array([0.06, 0.6, 0.4, 0.04])
    amount = np.array([10_000, 1_000, 1_000, 10_000])
    _, rule = tuned(label, score, amount, REVIEW_OF_FIVE)

    assert rule.achieved.n_alerts == 2
    assert rule.achieved.recall == 0.5
    assert rule.achieved.total_cost == 2 * 5 + 10
    assert rule.saving is not None
    assert rule.saving.value == 100 - 2 * 5


def test_going_by_amount_costs_less_than_any_single_threshold() -> None:
    single, rule = tuned(*calibrated(), REVIEW_OF_FIVE)

    assert rule.achieved.total_cost < 0.95 * single.achieved.total_cost
    assert rule.threshold == single.threshold
    assert rule.interval == single.interval


def test_the_saving_has_the_interval_of_a_sum() -> None:
    """A Poisson bootstrap of a sum has the variance of the sum of squares."""
    label, score, amount = calibrated()
    _, rule = tuned(label, score, amount, REVIEW_OF_FIVE)
    is_alert = score >= rule.row_costs.thresholds(amount)
    width = 2 * 1.96 * np.sqrt((rule.row_costs.savings(amount, label == 1)[is_alert] ** 2).sum())

    assert rule.saving.high - rule.saving.low == pytest.approx(width, rel=0.15)
    assert rule.saving.low < rule.saving.value < rule.saving.high


def test_the_reason_says_what_the_scores_promised_and_what_there_was() -> None:
    label, score, amount = calibrated()
    _, rule = tuned(label, score, amount, REVIEW_OF_FIVE)
    is_alert = score >= rule.row_costs.thresholds(amount)

    assert f"hold {label[is_alert].sum()} of {label.sum()} positives" in rule.reason
    assert f"their scores promised {score[is_alert].sum():.3g};" in rule.reason
    assert f"they save {rule.saving} against no alerts" in rule.reason


def test_rows_without_an_amount_are_cut_at_the_single_threshold() -> None:
    label, score, amount = calibrated()
    missing = np.where(np.arange(len(amount)) % 2, np.nan, amount)
    _, rule = tuned(label, score, missing, REVIEW_OF_FIVE)
    by_hand = np.where(
        np.isnan(missing), score >= rule.threshold, score >= rule.row_costs.thresholds(missing)
    )

    assert rule.achieved.n_alerts == by_hand.sum()


def test_the_saving_follows_the_seed() -> None:
    first, again, other = (
        tuned(*calibrated(5_000), REVIEW_OF_FIVE, seed=seed)[1].saving for seed in (0, 0, 1)
    )

    assert first == again != other


def test_no_amount_worth_a_review_gives_no_alert() -> None:
    label, score, amount = calibrated(5_000)
    _, rule = tuned(label, score, amount, CostObjective(review_cost=1e9))

    assert rule.achieved.n_alerts == 0
    assert rule.saving.value == 0
    assert "alerting on nothing costs" in rule.reason

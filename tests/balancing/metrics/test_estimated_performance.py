"""Estimates hold where scores are calibrated, and are wrong where the world has changed."""

import numpy as np
import pytest

from balancing.metrics.estimated_performance import estimate_performance
from balancing.metrics.ranking import average_precision
from balancing.metrics.realised_performance import realised_performance


def calibrated(n_rows: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, labels drawn from them, and alerts from 0.3 on."""
    rng = np.random.default_rng(seed)
    score = rng.beta(0.3, 6, n_rows)
    return score, (rng.random(n_rows) < score).astype(int), score >= 0.3


def test_an_estimate_is_what_a_hand_computes() -> None:
    found = estimate_performance([0.5, 0.25, 0.25], [True, False, False])

    assert found.positives.value == pytest.approx(1.0)
    assert found.precision.value == pytest.approx(0.5)
    assert found.recall.value == pytest.approx(0.5)
    # Half a positive found of half a row, then the rest: 0.5 * 0.5 + 0.5 * 1/3.
    assert found.average_precision.value == pytest.approx(0.5 * 0.5 + 0.5 * (1 / 3))


def test_on_calibrated_scores_the_estimate_holds_what_is_realised() -> None:
    hits = {"precision": 0, "recall": 0, "average_precision": 0}
    for seed in range(60):
        score, label, alert = calibrated(2000, seed)
        found = estimate_performance(score, alert, seed=seed)
        realised = {
            "precision": label[alert].mean(),
            "recall": alert[label == 1].mean(),
            "average_precision": average_precision(label, score),
        }
        for name, value in realised.items():
            interval = getattr(found, name)
            hits[name] += interval.low <= value <= interval.high

    # 57 of 60 are expected; fewer than 51 would be a rare accident.
    assert min(hits.values()) >= 51, hits


def test_a_change_of_inputs_moves_the_estimate_as_it_moves_the_truth() -> None:
    rng = np.random.default_rng(0)
    score = rng.beta(0.3, 3, 20_000)  # riskier rows than before, scored rightly
    label, alert = (rng.random(20_000) < score).astype(int), score >= 0.3

    found = estimate_performance(score, alert)

    assert found.recall.value == pytest.approx(alert[label == 1].mean(), abs=0.03)
    assert found.precision.value == pytest.approx(label[alert].mean(), abs=0.03)


def test_a_change_of_what_fraud_looks_like_leaves_the_estimate_wrong() -> None:
    """The limit of the method: scores do not know that a new kind of fraud scores low."""
    score, label, alert = calibrated(60_000, seed=1)
    rng = np.random.default_rng(2)
    label = np.where(rng.random(60_000) < 0.05, 1, label)

    found = estimate_performance(score, alert)
    realised = realised_performance(label, score, alert)

    assert found.recall.low > 1.5 * realised.recall.high


def test_rows_without_any_alert_have_no_precision() -> None:
    found = estimate_performance([0.1, 0.2], [False, False])

    assert np.isnan(found.precision.value)
    assert found.recall.value == 0


@pytest.mark.parametrize(
    ("score", "alert", "message"),
    [([], [], "a value a row"), ([0.1], [True, False], "a value a row"),
     ([1.5], [True], r"in \[0, 1\]"), ([np.nan], [True], r"in \[0, 1\]")],
)  # fmt: skip
def test_what_are_no_probabilities_is_refused(score, alert, message) -> None:
    with pytest.raises(ValueError, match=message):
        estimate_performance(score, alert)

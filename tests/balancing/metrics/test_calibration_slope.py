"""The calibration line: scikit-learn's coefficients, intervals that hold the truth."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from balancing.calibration.calibrator import sigmoid
from balancing.metrics.calibration_slope import calibration_line


def drawn(
    slope: float, intercept: float, n_rows: int = 4000, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Labels and log-odds whose true probability is sigmoid(intercept + slope x)."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(-2, 1.5, n_rows)
    return (rng.random(n_rows) < sigmoid(slope * odds + intercept)).astype(np.int64), odds


def test_the_line_equals_unpenalised_logistic_regression() -> None:
    label, odds = drawn(0.7, -0.3)
    reference = LogisticRegression(C=np.inf, tol=1e-12).fit(odds[:, None], label)

    line = calibration_line(label, sigmoid(odds), n_replicates=2)

    assert line.slope.value == pytest.approx(reference.coef_[0, 0], abs=1e-5)
    assert line.intercept.value == pytest.approx(reference.intercept_[0], abs=1e-5)


def test_calibrated_scores_are_covered_and_bold_ones_are_not() -> None:
    label, odds = drawn(1.0, 0.0)

    assert calibration_line(label, sigmoid(odds)).covers_calibration
    assert not calibration_line(label, sigmoid(2 * odds)).covers_calibration
    assert calibration_line(label, sigmoid(2 * odds)).slope.value == pytest.approx(0.5, abs=0.05)


def test_the_interval_has_the_width_of_the_standard_error() -> None:
    label, odds = drawn(1.0, 0.0)
    line = calibration_line(label, sigmoid(odds))
    columns = np.stack([np.ones_like(odds), odds], axis=1)
    spread = sigmoid(odds) * (1 - sigmoid(odds))
    error = np.sqrt(np.linalg.inv((columns.T * spread) @ columns)[1, 1])

    assert line.slope.high - line.slope.low == pytest.approx(2 * 1.96 * error, rel=0.2)


def test_the_interval_holds_one_in_about_95_of_100_samples() -> None:
    covered = [
        calibration_line(label, sigmoid(odds), n_replicates=200).covers_calibration
        for label, odds in (drawn(1.0, 0.0, 1000, seed) for seed in range(60))
    ]

    assert np.mean(covered) >= 0.85


def test_probabilities_of_zero_and_one_are_finite_log_odds() -> None:
    label, odds = drawn(1.0, 0.0)
    probability = sigmoid(odds)
    probability[:2], label[:2] = [0.0, 1.0], [0, 1]

    assert np.isfinite(calibration_line(label, probability, n_replicates=5).slope.value)


def test_classes_that_a_score_separates_have_no_slope() -> None:
    line = calibration_line([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9], n_replicates=5)

    assert np.isnan(line.slope.value)
    assert not line.covers_calibration


def test_the_same_seed_gives_the_same_interval() -> None:
    label, odds = drawn(1.0, 0.0)

    lines = [calibration_line(label, sigmoid(odds), n_replicates=20, seed=4) for _ in range(2)]

    assert lines[0] == lines[1]


@pytest.mark.parametrize(
    ("label", "probability", "message"),
    [
        ([0, 0], [0.1, 0.2], "at least one positive"),
        ([1, 1], [0.1, 0.2], "at least one negative"),
        ([0, 1], [0.1, 1.2], r"must be in \[0, 1\]"),
    ],
)
def test_unusable_rows_are_refused(
    label: list[int], probability: list[float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        calibration_line(label, probability)

"""Base rates without labels: the truth is found, and each broken precondition is named."""

import numpy as np
import pytest

from balancing.calibration.calibrator import sigmoid
from balancing.calibration.fitting.prior_estimation import PriorNotEstimable, estimate_prior
from balancing.metrics.calibration_quality import log_loss
from infra.errors import Refusal

BASE = 0.02
N_CALIBRATION = 60_000


def drawn(
    prevalence: float, n_rows: int = 60_000, *, seed: int, shift: float = 0.0, fade: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Labels and what the calibrated scorer of a 2 % world says.

    Negatives are N(0, 1) and positives N(3, 1);
    ``shift`` moves the negatives up and ``fade`` the positives down, which no base rate explains.
    """
    rng = np.random.default_rng(seed)
    label = (rng.random(n_rows) < prevalence).astype(np.int64)
    x = rng.normal(0, 1, n_rows) + label * (3 - fade) + (1 - label) * shift
    return label, sigmoid(3 * x - 4.5 + np.log(BASE / (1 - BASE)))


@pytest.fixture(scope="module")
def calibration() -> dict[str, np.ndarray]:
    label, probability = drawn(BASE, N_CALIBRATION, seed=1)
    return {"calibration_label": label, "calibration_probability": probability}


@pytest.mark.parametrize("prevalence", [0.004, 0.02, 0.1, 0.4])
def test_the_true_base_rate_lies_in_the_interval(
    calibration: dict[str, np.ndarray], prevalence: float
) -> None:
    label, probability = drawn(prevalence, seed=5)

    estimate = estimate_prior(probability, **calibration)

    assert estimate.prevalence.low <= label.mean() <= estimate.prevalence.high
    assert estimate.prevalence.value == pytest.approx(label.mean(), rel=0.12)
    assert estimate.trained_prevalence == calibration["calibration_probability"].mean()
    assert estimate.n_rows == len(label)


def test_correcting_by_the_estimate_lowers_the_loss(calibration: dict[str, np.ndarray]) -> None:
    label, probability = drawn(0.1, seed=6)

    corrected = estimate_prior(probability, **calibration).shift.apply(probability)

    assert log_loss(label, corrected) < log_loss(label, probability)
    assert corrected.mean() == pytest.approx(label.mean(), rel=0.05)


def test_the_calibration_rows_themselves_have_the_rate_they_came_with(
    calibration: dict[str, np.ndarray],
) -> None:
    """At the mean probability expectation-maximisation stands still from the start."""
    estimate = estimate_prior(calibration["calibration_probability"], **calibration)

    assert estimate.n_steps == 1
    assert estimate.prevalence.value == pytest.approx(estimate.trained_prevalence, rel=1e-4)


def test_the_same_seed_gives_the_same_interval(calibration: dict[str, np.ndarray]) -> None:
    _, probability = drawn(0.02, 20_000, seed=7)

    assert estimate_prior(probability, **calibration) == estimate_prior(probability, **calibration)


def test_scores_that_are_not_calibrated_are_refused() -> None:
    label, probability = drawn(BASE, seed=2)
    bold = sigmoid(2 * np.log(probability / (1 - probability)))

    with pytest.raises(PriorNotEstimable, match=r"not calibrated.*interval must hold 1"):
        estimate_prior(bold, calibration_label=label, calibration_probability=bold)


def test_too_few_rows_are_refused_with_the_number_needed(
    calibration: dict[str, np.ndarray],
) -> None:
    _, probability = drawn(0.02, 2000, seed=3)

    with pytest.raises(PriorNotEstimable, match=r"2000 unlabelled rows hold about \d+") as caught:
        estimate_prior(probability, **calibration)

    assert "needs 100" in str(caught.value)
    assert isinstance(caught.value, Refusal)
    assert "\n" not in str(caught.value)


def test_rows_of_another_kind_are_refused(calibration: dict[str, np.ndarray]) -> None:
    _, probability = drawn(0.02, seed=4)
    probability[:2000] = 0.0

    with pytest.raises(PriorNotEstimable, match=r"3\.\d% of the unlabelled rows score outside"):
        estimate_prior(probability, **calibration)


@pytest.mark.parametrize("changes", [{"shift": 0.3}, {"fade": 1.0}])
def test_a_change_that_no_base_rate_explains_is_refused(
    calibration: dict[str, np.ndarray], changes: dict[str, float]
) -> None:
    _, probability = drawn(0.02, seed=8, **changes)

    with pytest.raises(PriorNotEstimable, match="No base rate explains the unlabelled scores"):
        estimate_prior(probability, **calibration)


def test_scores_that_hardly_tell_classes_apart_are_refused() -> None:
    """Classes a twentieth of a standard deviation apart: each step moves the rate a little."""
    rng = np.random.default_rng(0)
    label = (rng.random(80_000) < 0.5).astype(np.int64)
    apart = 0.05
    x = rng.normal(0, 1, 80_000) + apart * label
    probability = sigmoid(apart * x - apart**2 / 2)
    unlabelled = sigmoid(apart * rng.normal(0.0, 1, 80_000) - apart**2 / 2)

    with pytest.raises(PriorNotEstimable, match="tell the classes apart too little"):
        estimate_prior(unlabelled, calibration_label=label, calibration_probability=probability)


@pytest.mark.parametrize(
    ("probability", "message"),
    [
        ([0.1, np.nan], "probability must be finite"),
        ([], r"probability must be finite, one per row. Got shape \(0,\)"),
        ([0.1, 1.5], r"probability must be in \[0, 1\]. Got 0.1 to 1.5"),
    ],
)
def test_unusable_probabilities_are_refused(
    calibration: dict[str, np.ndarray], probability: list[float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        estimate_prior(probability, **calibration)


def test_calibration_rows_of_one_class_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one negative"):
        estimate_prior([0.5], calibration_label=[1, 1], calibration_probability=[0.5, 0.6])

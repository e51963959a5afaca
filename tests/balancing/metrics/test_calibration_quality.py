"""Calibration figures against scikit-learn and by hand."""

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from balancing.metrics.calibration_quality import (
    brier_score,
    expected_calibration_error,
    log_loss,
    reference_brier_score,
    reference_log_loss,
)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_losses_equal_scikit_learn(dtype: type) -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        label = np.append(rng.integers(0, 2, 500), 1)
        probability = rng.random(501).astype(dtype)

        assert brier_score(label, probability) == pytest.approx(
            sklearn_metrics.brier_score_loss(label, probability), abs=1e-7
        )
        assert log_loss(label, probability) == pytest.approx(
            sklearn_metrics.log_loss(label, probability.astype(np.float64)), abs=1e-12
        )


def test_a_certain_mistake_costs_a_large_finite_loss() -> None:
    assert log_loss([0, 1], [1.0, 0.0]) == pytest.approx(
        sklearn_metrics.log_loss([0, 1], [1.0, 0.0])
    )


def test_worked_equal_width_error() -> None:
    """Bins [0, .5) and [.5, 1]: |.2 - 0| of one row, |.7 - 1/2| of two rows."""
    error = expected_calibration_error([0, 1, 0], [0.2, 0.6, 0.8], n_bins=2, binning="equal_width")

    assert error == pytest.approx((0.2 + 0.4) / 3)


def test_equal_mass_bins_split_what_equal_width_hides() -> None:
    """All rows lie in the first tenth; half are too high, half too low by as much."""
    label = np.repeat([0, 0, 0, 1], 100)
    probability = np.repeat([0.04, 0.04, 0.09, 0.09], 100) + np.tile(np.arange(100) / 1e6, 4)

    assert expected_calibration_error(label, probability, n_bins=2) == pytest.approx(
        (0.04 + 0.41) / 2, abs=1e-3
    )
    assert expected_calibration_error(
        label, probability, n_bins=5, binning="equal_width"
    ) == pytest.approx(0.25 - 0.065, abs=1e-3)


def test_the_prevalence_as_a_constant_has_no_calibration_error() -> None:
    label = np.arange(1000) < 2

    assert expected_calibration_error(label, np.full(1000, 0.002)) == pytest.approx(0, abs=1e-12)


def test_references_are_the_losses_of_the_constant_prevalence() -> None:
    label = np.arange(50) < 3
    constant = np.full(50, 3 / 50)

    assert reference_brier_score(3 / 50) == pytest.approx(brier_score(label, constant))
    assert reference_log_loss(3 / 50) == pytest.approx(log_loss(label, constant))
    assert reference_log_loss([0.0, 1.0]) == pytest.approx([0, 0])


@pytest.mark.parametrize(
    ("probability", "options", "message"),
    [
        ([-0.1, 0.5], {}, r"probability must be in \[0, 1\]. Got -0.1 to 0.5"),
        ([0.5, 4.0], {}, "pass calibrated probabilities, not logits"),
        ([0.5, 0.5], {"n_bins": 0}, "n_bins must be at least 1. Got n_bins=0"),
        ([0.5, 0.5], {"binning": "even"}, "binning must be equal_width or equal_mass"),
    ],
)
def test_unusable_arguments_are_refused(
    probability: list[float], options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        expected_calibration_error([0, 1], probability, **options)

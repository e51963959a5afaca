"""Fitting calibrators: known truths are found, few positives are survived."""

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from balancing.calibration.calibrator import sigmoid
from balancing.calibration.fitting.calibrators import (
    CalibrationError,
    fit_beta,
    fit_calibrator,
    fit_identity,
    fit_isotonic,
    fit_platt,
    fit_temperature,
)
from balancing.metrics.calibration_quality import log_loss
from infra.errors import InputError


def drawn(slope: float, intercept: float, n_rows: int = 40_000) -> tuple[np.ndarray, np.ndarray]:
    """Log-odds whose true probability is sigmoid(slope x + intercept)."""
    rng = np.random.default_rng(7)
    odds = rng.normal(-3, 3, n_rows)
    return odds, (rng.random(n_rows) < sigmoid(slope * odds + intercept)).astype(np.int64)


def test_platt_finds_the_true_slope_and_intercept() -> None:
    fitted = fit_platt(*drawn(0.6, -0.5))

    assert fitted.slope == pytest.approx(0.6, abs=0.03)
    assert fitted.intercept == pytest.approx(-0.5, abs=0.1)


def test_platt_equals_unpenalised_logistic_regression_when_rows_are_many() -> None:
    odds, label = drawn(0.8, 0.3)
    reference = LogisticRegression(C=np.inf, tol=1e-10).fit(odds[:, None], label)
    fitted = fit_platt(odds, label)

    assert fitted.slope == pytest.approx(reference.coef_[0, 0], rel=2e-3)
    assert fitted.intercept == pytest.approx(reference.intercept_[0], abs=5e-3)


def test_temperature_finds_the_true_temperature() -> None:
    assert fit_temperature(*drawn(0.5, 0.0)).temperature == pytest.approx(2.0, abs=0.08)


def test_beta_finds_platt_where_platt_is_true() -> None:
    fitted = fit_beta(*drawn(0.7, -0.4))

    assert fitted.a == pytest.approx(0.7, abs=0.05)
    assert fitted.b == pytest.approx(0.7, abs=0.1)


def test_a_flexible_calibrator_is_not_taken_where_a_simple_one_is_true() -> None:
    assert fit_calibrator(*drawn(1.0, 0.0), seed=0).calibrator.kind == "identity"
    assert fit_calibrator(*drawn(0.5, 0.0), seed=0).calibrator.kind == "temperature"
    assert fit_calibrator(*drawn(0.5, -1.0), seed=0).calibrator.kind == "platt"


def test_isotonic_is_taken_where_no_sigmoid_fits_and_positives_are_many() -> None:
    rng = np.random.default_rng(0)
    odds = rng.uniform(-6, 6, 20_000)
    stairs = np.select([odds < -3, odds < 0, odds < 3], [0.02, 0.4, 0.45], 0.95)
    label = (rng.random(20_000) < stairs).astype(np.int64)

    assert fit_calibrator(odds, label, seed=0).calibrator.kind == "isotonic"


@pytest.mark.parametrize("seed", range(4))
def test_with_fifteen_positives_isotonic_does_not_win_and_new_rows_gain(
    make_rows: Any, seed: int
) -> None:
    few, fresh = (make_rows(6000, n, seed=seed + n) for n in (15, 60))
    fitted = fit_calibrator(few.log_odds, few.label, seed=seed)
    calibrated = log_loss(fresh.label, fitted.calibrator.apply(fresh.log_odds))

    assert fitted.calibrator.kind != "isotonic"
    assert "isotonic" not in fitted.log_losses
    assert calibrated < log_loss(fresh.label, sigmoid(fresh.log_odds))


def test_separable_rows_get_a_finite_slope() -> None:
    odds = np.append(np.linspace(-9, -5, 500), np.linspace(2, 4, 12))
    label = (odds > 0).astype(np.int64)

    for fit in (fit_platt, fit_beta, fit_temperature):
        applied = fit(odds, label).apply(odds)
        assert 0 < applied.min() < applied.max() < 1
        assert applied[label == 1].min() > 0.5


def test_every_fit_lowers_the_loss_it_minimises() -> None:
    odds, label = drawn(0.5, -1.0, 5000)
    plain = log_loss(label, fit_identity(odds, label).apply(odds))

    for fit in (fit_temperature, fit_platt, fit_beta, fit_isotonic):
        assert log_loss(label, fit(odds, label).apply(odds)) < plain


def test_isotonic_stays_off_zero_and_one() -> None:
    applied = fit_isotonic(np.arange(20.0), np.arange(20) >= 10).apply(np.array([-99.0, 99.0]))

    assert 0 < applied[0] < applied[1] < 1


def test_a_fit_is_the_same_for_the_same_seed() -> None:
    odds, label = drawn(0.6, 0.2, 3000)

    assert fit_calibrator(odds, label, seed=3) == fit_calibrator(odds, label, seed=3)


@pytest.mark.parametrize(
    ("n_positives", "n_negatives", "message"),
    [
        (0, 100, "need at least 10 positives among the calibration rows. Got 0 of 100"),
        (9, 100, "need at least 10 positives among the calibration rows. Got 9 of 109"),
        (100, 3, "need at least 10 negatives among the calibration rows. Got 3 of 103"),
    ],
)
def test_too_few_rows_of_a_class_are_refused(
    n_positives: int, n_negatives: int, message: str
) -> None:
    label = np.repeat([1, 0], [n_positives, n_negatives])
    with pytest.raises(CalibrationError, match=message) as caught:
        fit_calibrator(np.arange(len(label)), label, seed=0)

    assert isinstance(caught.value, InputError)


def test_a_constant_score_is_refused() -> None:
    with pytest.raises(CalibrationError, match=r"all 40 calibration rows the same logit \(-2\)"):
        fit_calibrator(np.full(40, -2.0), np.arange(40) % 2, seed=0)

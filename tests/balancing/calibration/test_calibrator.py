"""Each calibrator in numpy against scikit-learn's evaluation of the same parameters."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from balancing.calibration.calibrator import (
    BetaCalibrator,
    Calibrator,
    IdentityCalibrator,
    IsotonicCalibrator,
    PlattCalibrator,
    TemperatureCalibrator,
    log_sigmoid,
    sigmoid,
)

ODDS = np.random.default_rng(0).normal(-3, 4, 2000)
LABEL = np.random.default_rng(1).random(2000) < sigmoid(ODDS)
EVERY_KIND = [
    IdentityCalibrator(),
    TemperatureCalibrator(temperature=1.7),
    PlattCalibrator(slope=0.6, intercept=-1.2),
    BetaCalibrator(a=0.7, b=1.3, c=0.4),
    IsotonicCalibrator(log_odds=(-5.0, 0.0, 3.0), probability=(0.01, 0.2, 0.9), tie_break=1e-6),
]


def logistic_with(features: np.ndarray, slopes: list[float], intercept: float) -> np.ndarray:
    model = LogisticRegression().fit(features, LABEL)
    model.coef_, model.intercept_ = np.array([slopes]), np.array([intercept])
    return model.predict_proba(features)[:, 1]


def test_platt_equals_scikit_learns_logistic_regression() -> None:
    expected = logistic_with(ODDS[:, None], [0.6], -1.2)

    applied = PlattCalibrator(slope=0.6, intercept=-1.2).apply(ODDS)

    np.testing.assert_allclose(applied, expected, rtol=0, atol=1e-12)


def test_temperature_equals_scikit_learns_logistic_regression() -> None:
    expected = logistic_with(ODDS[:, None], [1 / 1.7], 0.0)

    applied = TemperatureCalibrator(temperature=1.7).apply(ODDS)

    np.testing.assert_allclose(applied, expected, rtol=0, atol=1e-12)


@settings(max_examples=50)
@given(st.floats(0.01, 20), st.floats(-20, 20))
def test_any_line_equals_scikit_learns_logistic_regression(slope: float, intercept: float) -> None:
    expected = logistic_with(ODDS[:, None], [slope], intercept)

    applied = PlattCalibrator(slope=slope, intercept=intercept).apply(ODDS)

    np.testing.assert_allclose(applied, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("method", ["sigmoid", "temperature", "isotonic"])
def test_scikit_learns_own_calibrators_are_reproduced(method: str) -> None:
    """Fitted on a frozen scorer. Its two logits are -d and +d for temperatures, ours half that."""
    scorer = LogisticRegression().fit(ODDS[:, None], LABEL)
    scorer.coef_, scorer.intercept_ = np.array([[1.0]]), np.array([0.0])
    fitted = CalibratedClassifierCV(FrozenEstimator(scorer), method=method)
    fitted.fit(ODDS[:1500, None], LABEL[:1500])
    inner = fitted.calibrated_classifiers_[0].calibrators[0]
    ours: Calibrator = {
        "sigmoid": lambda: PlattCalibrator(slope=-inner.a_, intercept=-inner.b_),
        "temperature": lambda: TemperatureCalibrator(temperature=0.5 / inner.beta_),
        "isotonic": lambda: IsotonicCalibrator(
            log_odds=tuple(inner.X_thresholds_), probability=tuple(inner.y_thresholds_)
        ),
    }[method]()

    expected = fitted.predict_proba(ODDS[:, None])[:, 1]

    np.testing.assert_allclose(ours.apply(ODDS), expected, rtol=0, atol=1e-12)


def test_beta_equals_scikit_learns_logistic_regression_on_its_two_features() -> None:
    p = sigmoid(ODDS)
    expected = logistic_with(np.stack([np.log(p), -np.log1p(-p)], axis=1), [0.7, 1.3], 0.4)

    applied = BetaCalibrator(a=0.7, b=1.3, c=0.4).apply(ODDS)

    np.testing.assert_allclose(applied, expected, rtol=0, atol=1e-12)


def test_isotonic_equals_scikit_learns_isotonic_regression() -> None:
    fitted = IsotonicRegression(out_of_bounds="clip").fit(ODDS[:1500], LABEL[:1500])
    ours = IsotonicCalibrator(
        log_odds=tuple(fitted.X_thresholds_), probability=tuple(fitted.y_thresholds_)
    )
    beyond = np.append(ODDS, [-1000.0, 1000.0])

    np.testing.assert_allclose(ours.apply(beyond), fitted.predict(beyond), rtol=0, atol=1e-12)


def test_a_tie_break_keeps_rows_of_a_flat_stretch_apart() -> None:
    flat = IsotonicCalibrator(log_odds=(-2.0, 2.0), probability=(0.3, 0.3), tie_break=1e-6)

    assert (np.diff(flat.apply(np.linspace(-2, 2, 50))) > 0).all()


@pytest.mark.parametrize("calibrator", EVERY_KIND, ids=lambda each: each.kind)
def test_every_calibrator_rises_and_stays_a_probability(calibrator: Calibrator) -> None:
    applied = calibrator.apply(np.linspace(-800, 800, 4001))

    assert (np.diff(applied) >= 0).all()
    assert 0 <= applied.min() <= applied.max() <= 1


@pytest.mark.parametrize("calibrator", EVERY_KIND, ids=lambda each: each.kind)
def test_one_row_gives_the_bits_that_many_rows_give(calibrator: Calibrator) -> None:
    together = calibrator.apply(ODDS[:200])
    alone = np.concatenate([calibrator.apply(ODDS[at : at + 1]) for at in range(200)])

    assert together.tobytes() == alone.tobytes()


@pytest.mark.parametrize("calibrator", EVERY_KIND, ids=lambda each: each.kind)
def test_every_calibrator_survives_json(calibrator: Calibrator) -> None:
    adapter: TypeAdapter[Calibrator] = TypeAdapter(Calibrator)

    assert adapter.validate_json(adapter.dump_json(calibrator)) == calibrator


def test_sigmoid_is_exact_where_the_plain_formula_overflows() -> None:
    assert sigmoid([-1000.0, 0.0, 1000.0]).tolist() == [0.0, 0.5, 1.0]
    assert log_sigmoid([-1000.0, 0.0]).tolist() == [-1000.0, -np.log(2)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"kind": "platt", "slope": -1, "intercept": 0}, "greater than 0"),
        ({"kind": "temperature", "temperature": 0}, "greater than 0"),
        ({"kind": "beta", "a": -0.1, "b": 1, "c": 0}, "greater than or equal to 0"),
        ({"kind": "isotonic", "log_odds": [0, 0], "probability": [0, 1]}, "log_odds must rise"),
        ({"kind": "isotonic", "log_odds": [0, 1], "probability": [1, 0]}, "must not fall"),
        ({"kind": "isotonic", "log_odds": [0, 1], "probability": [0, 2]}, r"in \[0, 1\]"),
        ({"kind": "isotonic", "log_odds": [0, 1], "probability": [0]}, "must pair up"),
        ({"kind": "spline"}, "spline"),
        ({"kind": "identity", "slope": 1}, "Extra inputs"),
    ],
)
def test_an_impossible_calibrator_is_refused(content: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TypeAdapter(Calibrator).validate_python(content)

"""Fits each calibrator and picks one by cross-fitted log-loss.

Platt, beta and temperature calibration are one model, a logistic regression on one or two
features of the logit, differing in features and intercept. Their slopes are pulled towards 1,
where the network's own probability stands, as strongly as a few observations would: with many
positives that changes nothing, with fifteen it keeps separable rows from an infinite slope.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.isotonic import IsotonicRegression
from sklearn.model_selection import StratifiedKFold

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
from balancing.metrics.calibration_quality import log_losses
from balancing.metrics.cells import FloatArray, IntArray
from infra.errors import InputError

MIN_POSITIVES = 10
# Below this, isotonic steps follow single positives; it is not even tried.
MIN_POSITIVES_ISOTONIC = 200
N_FOLDS = 5
_SLOPE_PRIOR_SD = 0.5
# Far below any calibration error, far above the resolution of float64.
_TIE_BREAK = 1e-6
_SMALLEST_SLOPE = 1e-3
_MAX_STEPS, _MAX_HALVINGS = 100, 30
_LOSS_TOLERANCE = 1e-13


class CalibrationError(InputError):
    """Raised when the calibration rows cannot carry a calibrator or a threshold."""


@dataclass(frozen=True, slots=True)
class FittedCalibrator:
    """The chosen calibrator and what the choice was made on.

    Attributes:
        calibrator: Fitted on all rows.
        log_losses: Cross-fitted log-loss in nats of each candidate tried.
    """

    calibrator: Calibrator
    log_losses: dict[str, float]


def fit_calibrator(log_odds: ArrayLike, label: ArrayLike, *, seed: int) -> FittedCalibrator:
    """Return the calibrator with the least cross-fitted log-loss, the simpler one in doubt.

    Candidates from simple to flexible: identity, temperature, platt, beta, isotonic. A more
    flexible one is taken only when it beats the best simpler one by more than one standard error
    of their paired difference, so that noise does not buy flexibility.

    Args:
        log_odds: The network's log-odds on rows it was not fitted on.
        label: 0 or 1 per row.
        seed: Decides the folds.

    Shape:
        ``(n_rows,)`` each.

    Raises:
        CalibrationError: If there are too few positives or negatives, or one constant score.
    """
    x, y = check_calibration_rows(log_odds, label)
    losses = {kind: _cross_fitted_losses(fit, x, y, seed) for kind, fit in _candidates(y).items()}
    chosen = _simplest_of_the_best(losses)
    return FittedCalibrator(
        calibrator=_FITS[chosen](x, y),
        log_losses={kind: float(loss.mean()) for kind, loss in losses.items()},
    )


def check_calibration_rows(log_odds: ArrayLike, label: ArrayLike) -> tuple[FloatArray, IntArray]:
    """Return log-odds and labels as arrays, after checking that something can be fitted on them.

    Raises:
        CalibrationError: If there are too few positives or negatives, or one constant score.
    """
    x = np.asarray(log_odds, dtype=np.float64)
    y = np.asarray(label).astype(np.int64)
    if x.shape != y.shape:
        raise ValueError(f"logits and label must have the same rows. Got {x.shape}, {y.shape}.")
    for name, count in (("positives", int((y == 1).sum())), ("negatives", int((y == 0).sum()))):
        if count < MIN_POSITIVES:
            raise CalibrationError(
                f"The calibrator and the thresholds need at least {MIN_POSITIVES} {name} among "
                f"the calibration rows. Got {count} of {len(y)}: widen the calibration part."
            )
    if x.min() == x.max():
        raise CalibrationError(
            f"The model gives all {len(x)} calibration rows the same logit ({x[0]:g}): there is "
            "nothing to calibrate or to cut. Train it again on informative features."
        )
    return x, y


def fit_identity(log_odds: FloatArray, label: IntArray) -> IdentityCalibrator:
    """Return the network's own probability; the rows do not matter."""
    del log_odds, label
    return IdentityCalibrator()


def fit_temperature(log_odds: FloatArray, label: IntArray) -> TemperatureCalibrator:
    """Return the temperature of least penalised log-loss."""
    (slope,) = _fit_slopes(log_odds[:, None], label, with_intercept=False)
    return TemperatureCalibrator(temperature=1 / slope)


def fit_platt(log_odds: FloatArray, label: IntArray) -> PlattCalibrator:
    """Return the slope and intercept of least penalised log-loss; the intercept is free."""
    slope, intercept = _fit_slopes(log_odds[:, None], label)
    return PlattCalibrator(slope=slope, intercept=intercept)


def fit_beta(log_odds: FloatArray, label: IntArray) -> BetaCalibrator:
    """Return the beta calibrator of least penalised log-loss."""
    features = np.stack([log_sigmoid(log_odds), -log_sigmoid(-log_odds)], axis=1)
    a, b, c = _fit_slopes(features, label)
    return BetaCalibrator(a=a, b=b, c=c)


def fit_isotonic(log_odds: FloatArray, label: IntArray) -> IsotonicCalibrator:
    """Return scikit-learn's isotonic regression, kept off 0 and 1.

    A probability of exactly 0 or 1 is a claim no finite sample supports; the ends are held at
    half an observation.
    """
    end = 0.5 / (len(label) + 1)
    fitted = IsotonicRegression(y_min=end, y_max=1 - end, out_of_bounds="clip")
    fitted.fit(log_odds, label)
    return IsotonicCalibrator(
        log_odds=tuple(fitted.X_thresholds_.tolist()),
        probability=tuple(fitted.y_thresholds_.tolist()),
        tie_break=_TIE_BREAK,
    )


_FITS: dict[str, Callable[[FloatArray, IntArray], Calibrator]] = {
    "identity": fit_identity,
    "temperature": fit_temperature,
    "platt": fit_platt,
    "beta": fit_beta,
    "isotonic": fit_isotonic,
}


def _candidates(label: IntArray) -> dict[str, Callable[[FloatArray, IntArray], Calibrator]]:
    has_many = label.sum() >= MIN_POSITIVES_ISOTONIC
    return {kind: fit for kind, fit in _FITS.items() if has_many or kind != "isotonic"}


def _cross_fitted_losses(fit: Any, x: FloatArray, y: IntArray, seed: int) -> FloatArray:
    folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=seed)
    losses = np.empty(len(y))
    for rows, held_out in folds.split(x, y):
        calibrator = fit(x[rows], y[rows])
        losses[held_out] = log_losses(y[held_out], calibrator.apply(x[held_out]))
    return losses


def _simplest_of_the_best(losses: dict[str, FloatArray]) -> str:
    kinds = list(losses)
    chosen = kinds[0]
    for kind in kinds[1:]:
        gain = losses[chosen] - losses[kind]
        if gain.mean() > gain.std() / np.sqrt(len(gain)):
            chosen = kind
    return chosen


def _fit_slopes(
    features: FloatArray, label: IntArray, *, with_intercept: bool = True
) -> tuple[float, ...]:
    """Return slopes, then the intercept, of the logistic regression nearest to slope 1.

    Newton's method on two or three parameters: a dozen passes over the rows. A slope that would
    turn negative is held at the smallest one allowed.
    """
    n_slopes = features.shape[1]
    columns = np.column_stack([features, np.ones(len(label))]) if with_intercept else features
    precision = np.full(columns.shape[1], 1 / _SLOPE_PRIOR_SD**2, dtype=np.float64)
    precision[n_slopes:] = 0.0
    sign = np.where(label == 1, -1.0, 1.0)
    regression = _Regression(columns, sign, precision, n_slopes)
    parameters = np.ones(columns.shape[1])
    parameters[n_slopes:] = 0.0
    loss = regression.loss(parameters)
    for _ in range(_MAX_STEPS):
        parameters, improved = regression.step(parameters, loss)
        if loss - improved <= _LOSS_TOLERANCE * abs(improved):
            break
        loss = improved
    return tuple(float(value) for value in parameters)


@dataclass(frozen=True, slots=True)
class _Regression:
    """A logistic regression whose slopes have a normal prior around 1 and a lower bound."""

    columns: FloatArray  # (n_rows, n_parameters)
    sign: FloatArray  # (n_rows,), -1 for positives
    precision: FloatArray  # (n_parameters,), of the prior; 0 for the intercept
    n_slopes: int

    def loss(self, parameters: FloatArray) -> float:
        pull = 0.5 * float(self.precision @ (parameters - 1) ** 2)
        return pull - float(log_sigmoid(-self.sign * (self.columns @ parameters)).sum())

    def step(self, parameters: FloatArray, loss: float) -> tuple[FloatArray, float]:
        """Return better parameters and their loss, or the same ones when none are better."""
        wrong = sigmoid(self.sign * (self.columns @ parameters))
        gradient = self.columns.T @ (self.sign * wrong) + self.precision * (parameters - 1)
        curvature = (self.columns.T * (wrong * (1 - wrong))) @ self.columns
        curvature += np.diag(self.precision)
        is_held = (parameters <= self._bounds) & (gradient > 0)
        free = np.flatnonzero(~is_held)
        direction = np.zeros_like(parameters)
        damped = curvature[np.ix_(free, free)] + 1e-9 * np.eye(len(free))
        direction[free] = np.linalg.solve(damped, -gradient[free])
        for halvings in range(_MAX_HALVINGS):
            tried = np.maximum(parameters + direction / 2**halvings, self._bounds)
            if (reached := self.loss(tried)) < loss:
                return tried, reached
        return parameters, loss

    @property
    def _bounds(self) -> FloatArray:
        bounds = np.full(len(self.precision), -np.inf)
        bounds[: self.n_slopes] = _SMALLEST_SLOPE
        return bounds

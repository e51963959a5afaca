"""What turns a logit into a probability: five small formulas, each a few numbers of JSON."""

from functools import cached_property
from typing import Annotated, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel, ConfigDict, Field, model_validator

from balancing.metrics.cells import FloatArray


def sigmoid(log_odds: ArrayLike) -> FloatArray:
    """Return 1 / (1 + exp(-x)) without overflow, same bits for one row as for many."""
    x = np.ascontiguousarray(log_odds, dtype=np.float64)
    decay = np.exp(np.copysign(x, -1.0))
    probability: FloatArray = np.where(x >= 0, 1.0, decay) / (1.0 + decay)
    return probability


def log_sigmoid(log_odds: ArrayLike) -> FloatArray:
    """Return log(sigmoid(x)) without underflow."""
    x = np.ascontiguousarray(log_odds, dtype=np.float64)
    logarithm: FloatArray = np.minimum(x, 0.0) - np.log1p(np.exp(-np.abs(x)))
    return logarithm


class _Calibrator(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class IdentityCalibrator(_Calibrator):
    """The network's own probability."""

    kind: Literal["identity"] = "identity"

    def apply(self, log_odds: FloatArray) -> FloatArray:
        """Return probabilities, ``(n_rows,)`` -> ``(n_rows,)``."""
        return sigmoid(log_odds)


class TemperatureCalibrator(_Calibrator):
    """One temperature for all rows: sigmoid(x / T)."""

    kind: Literal["temperature"] = "temperature"
    temperature: float = Field(gt=0, allow_inf_nan=False)

    def apply(self, log_odds: FloatArray) -> FloatArray:
        """Return probabilities, ``(n_rows,)`` -> ``(n_rows,)``."""
        return sigmoid(log_odds / self.temperature)


class PlattCalibrator(_Calibrator):
    """Platt's sigmoid: sigmoid(slope x + intercept); the slope is positive, so ranks are kept."""

    kind: Literal["platt"] = "platt"
    slope: float = Field(gt=0, allow_inf_nan=False)
    intercept: float = Field(allow_inf_nan=False)

    def apply(self, log_odds: FloatArray) -> FloatArray:
        """Return probabilities, ``(n_rows,)`` -> ``(n_rows,)``."""
        return sigmoid(self.slope * log_odds + self.intercept)


class BetaCalibrator(_Calibrator):
    """Beta calibration (Kull et al. 2017): sigmoid(a log p - b log(1 - p) + c)."""

    kind: Literal["beta"] = "beta"
    a: float = Field(ge=0, allow_inf_nan=False)
    b: float = Field(ge=0, allow_inf_nan=False)
    c: float = Field(allow_inf_nan=False)

    def apply(self, log_odds: FloatArray) -> FloatArray:
        """Return probabilities, ``(n_rows,)`` -> ``(n_rows,)``."""
        bent = self.a * log_sigmoid(log_odds) - self.b * log_sigmoid(-log_odds)
        return sigmoid(bent + self.c)


class IsotonicCalibrator(_Calibrator):
    """A rising line through fitted points, flat beyond the outer ones.

    Attributes:
        log_odds: Places of the points, rising.
        probability: Their heights in [0, 1], never falling.
        tie_break: Share of the network's own probability mixed in. A flat stretch would give
            all its rows one score, and no threshold could tell them apart any more.
    """

    kind: Literal["isotonic"] = "isotonic"
    log_odds: tuple[float, ...] = Field(min_length=1)
    probability: tuple[float, ...] = Field(min_length=1)
    tie_break: float = Field(default=0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _check_points(self) -> "IsotonicCalibrator":
        places, heights = np.array(self.log_odds), np.array(self.probability)
        if places.shape != heights.shape:
            raise ValueError(
                f"log_odds and probability must pair up. Got {len(places)} and {len(heights)}."
            )
        if not (np.diff(places) > 0).all() or not (np.diff(heights) >= 0).all():
            raise ValueError("log_odds must rise and probability must not fall.")
        if heights[0] < 0 or heights[-1] > 1:
            raise ValueError(f"probability must be in [0, 1]. Got {heights[0]} to {heights[-1]}.")
        return self

    def apply(self, log_odds: FloatArray) -> FloatArray:
        """Return probabilities, ``(n_rows,)`` -> ``(n_rows,)``."""
        steps = np.interp(log_odds, *self._points)
        return (1 - self.tie_break) * steps + self.tie_break * sigmoid(log_odds)

    @cached_property
    def _points(self) -> FloatArray:
        return np.array([self.log_odds, self.probability])


Calibrator: TypeAlias = Annotated[
    IdentityCalibrator
    | TemperatureCalibrator
    | PlattCalibrator
    | BetaCalibrator
    | IsotonicCalibrator,
    Field(discriminator="kind"),
]

"""Where a score stands: the share of negatives and the alerts a day at or above it.

Scores of two model versions mean different things; these two figures mean the same, so a rule
built on them survives a retrain.
"""

from functools import cached_property

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from balancing.metrics.cells import FloatArray


class ScoreMap(BaseModel):
    """Points of two falling curves over the risk score, straight lines between them.

    Attributes:
        risk_score: Places of the points, rising.
        false_positive_rate: Share of the calibration negatives at or above each place.
        alert_rate: Share of all calibration rows at or above each place.
        rows_per_day: Traffic in the calibration period; ``None`` where it is unknown.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    risk_score: tuple[float, ...] = Field(min_length=1)
    false_positive_rate: tuple[float, ...]
    alert_rate: tuple[float, ...]
    rows_per_day: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _check_curves(self) -> "ScoreMap":
        lengths = {len(self.risk_score), len(self.false_positive_rate), len(self.alert_rate)}
        if len(lengths) != 1:
            raise ValueError(f"The curves of a score map must have one length. Got {lengths}.")
        if not (np.diff(self.risk_score) > 0).all():
            raise ValueError("risk_score of a score map must rise.")
        for curve in (self.false_positive_rate, self.alert_rate):
            if not (np.diff(curve) <= 0).all() or not (0 <= curve[-1] <= curve[0] <= 1):
                raise ValueError("The curves of a score map must fall within [0, 1].")
        return self

    def false_positive_rate_at(self, risk_score: FloatArray) -> FloatArray:
        """Return the share of negatives at or above each score, ``(n_rows,)`` -> ``(n_rows,)``."""
        return self._read(risk_score, self._curves[1])

    def alerts_per_day_at(self, risk_score: FloatArray) -> FloatArray | None:
        """Return the alerts a day were the threshold at each score; ``None`` without traffic."""
        if self.rows_per_day is None:
            return None
        return self._read(risk_score, self._curves[2]) * self.rows_per_day

    @cached_property
    def _curves(self) -> FloatArray:
        return np.array([self.risk_score, self.false_positive_rate, self.alert_rate])

    def _read(self, risk_score: FloatArray, curve: FloatArray) -> FloatArray:
        # Above the highest calibration score no row was seen: the share there is 0.
        share: FloatArray = np.interp(risk_score, self._curves[0], curve, right=0.0)
        return share

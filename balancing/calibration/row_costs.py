"""The threshold of least expected cost, row by row: what is at stake differs from row to row.

Letting a row pass costs ``loss_rate`` times its amount if it is positive. Alerting costs the
review, and friction if the row is negative. With a calibrated probability p alerting pays where
p x loss_rate x amount >= review_cost + (1 - p) x friction_cost, that is from

    p* = (review_cost + friction_cost) / (loss_rate x amount + friction_cost)

on: Elkan's optimal threshold (2001, "The Foundations of Cost-Sensitive Learning", equation 2) for
the cost matrix of that row.
"""

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel, ConfigDict, Field

from balancing.metrics.cells import FloatArray
from balancing.metrics.costs import MINOR_UNITS_PER_MAJOR
from infra.objectives import CostObjective


class RowCosts(BaseModel):
    """What decisions cost, in major currency units; amounts are in minor ones.

    Attributes:
        review_cost: Cost of working one alert.
        loss_rate: Share of a missed positive's amount that is lost.
        friction_cost: Cost of stopping one negative.
        minor_units_per_major: Minor units in one unit of the costs' currency.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    review_cost: float = Field(ge=0, allow_inf_nan=False)
    loss_rate: float = Field(ge=0, le=1)
    friction_cost: float = Field(ge=0, allow_inf_nan=False)
    minor_units_per_major: int = Field(default=MINOR_UNITS_PER_MAJOR, gt=0)

    @classmethod
    def of(cls, objective: CostObjective, minor_units_per_major: int) -> "RowCosts":
        """Return the costs that an objective states."""
        return cls(
            review_cost=objective.review_cost,
            loss_rate=objective.loss_rate,
            friction_cost=objective.friction_cost,
            minor_units_per_major=minor_units_per_major,
        )

    def thresholds(self, amount_minor: ArrayLike) -> FloatArray:
        """Return the lowest probability that pays for an alert on each row.

        Infinite where nothing is at stake (a refund loses nothing), above 1 where the amount is
        smaller than the review's cost, NaN where the amount is missing.

        Shape:
            ``(n_rows,)`` -> ``(n_rows,)``, float64.

        Example:
            >>> costs = RowCosts(review_cost=5, loss_rate=1, friction_cost=0)
            >>> costs.thresholds([10_000, 1_000, 250])
            array([0.05, 0.5 , 2.  ])
        """
        stake = self._stake(amount_minor)
        alerting = self.review_cost + self.friction_cost
        with np.errstate(divide="ignore", invalid="ignore"):
            threshold: FloatArray = alerting / (stake + self.friction_cost)
        threshold[stake == 0] = np.inf
        return threshold

    def savings(self, amount_minor: ArrayLike, is_positive: ArrayLike) -> FloatArray:
        """Return what an alert on each row saves, its own costs taken off; negative where it loses.

        A missing amount counts as 0.

        Shape:
            ``(n_rows,)`` each -> ``(n_rows,)``, float64, major currency units.
        """
        stake = np.nan_to_num(self._stake(amount_minor))
        return np.where(is_positive, stake, -self.friction_cost) - self.review_cost

    def _stake(self, amount_minor: ArrayLike) -> FloatArray:
        """Return what a missed positive loses; a negative amount loses nothing."""
        amounts = np.asarray(amount_minor, dtype=np.float64)
        stake: FloatArray = self.loss_rate * np.maximum(amounts, 0.0) / self.minor_units_per_major
        return stake

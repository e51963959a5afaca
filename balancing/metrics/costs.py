"""What alerting from a threshold on would have cost."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from balancing.metrics.cells import FloatArray, count_cells

MINOR_UNITS_PER_MAJOR = 100


@dataclass(frozen=True, slots=True)
class CostCurve:
    """Total cost of a period by threshold, in major currency units.

    Attributes:
        threshold: Lowest score that is an alert, falling, ``(n_thresholds,)``.
        missed: Loss on positives below it.
        review: Cost of working the alerts.
        friction: Cost of the negatives among them.
        nothing: Cost of alerting on nothing.
    """

    threshold: FloatArray
    missed: FloatArray
    review: FloatArray
    friction: FloatArray
    nothing: float

    @property
    def total(self) -> FloatArray:
        """Sum of the three parts, ``(n_thresholds,)``."""
        total: FloatArray = self.missed + self.review + self.friction
        return total


def cost_curve(
    label: ArrayLike,
    score: ArrayLike,
    amount_minor: ArrayLike,
    *,
    review_cost: float,
    loss_rate: float = 1.0,
    friction_cost: float = 0.0,
    minor_units_per_major: int = MINOR_UNITS_PER_MAJOR,
) -> CostCurve:
    """Return the cost at every distinct score as threshold.

    Args:
        label: 0 or 1 per row.
        score: Higher means riskier.
        amount_minor: Amount per row in minor currency units; a missing or negative one counts as 0.
        review_cost: Of one alert, in major currency units.
        loss_rate: Share of a missed positive's amount that is lost.
        friction_cost: Of one negative stopped, in major currency units.
        minor_units_per_major: Minor units in one unit of the costs.

    Raises:
        ValueError: If there is no positive or a cost is negative.
    """
    for name, value in (("review_cost", review_cost), ("friction_cost", friction_cost)):
        if not value >= 0:
            raise ValueError(f"{name} must be at least 0. Got {name}={value:g}.")
    if not 0 <= loss_rate <= 1:
        raise ValueError(f"loss_rate must be in [0, 1]. Got loss_rate={loss_rate:g}.")
    cells = count_cells(label, score, amount=amount_minor)
    assert cells.positive_amount is not None
    caught = np.cumsum(cells.positive_amount) / minor_units_per_major
    return CostCurve(
        threshold=np.unique(np.asarray(score, dtype=np.float64))[::-1],
        missed=loss_rate * (caught[-1] - caught),
        review=review_cost * (cells.true_positives + cells.false_positives),
        friction=friction_cost * cells.false_positives,
        nothing=float(loss_rate * caught[-1]),
    )

"""What alerting on some labelled rows did."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from balancing.calibration.row_costs import RowCosts
from balancing.calibration.thresholds import OperatingPoint
from balancing.metrics.cells import IntArray, positive_amounts
from balancing.metrics.costs import MINOR_UNITS_PER_MAJOR
from infra.objectives import CostObjective, Objective


@dataclass(frozen=True, slots=True)
class Period:
    """What is known of the period that rows come from.

    Attributes:
        amount_minor: Amount per row in minor currency units, ``(n_rows,)``; ``None`` without.
        days: Its length; ``None`` where it is unknown.
        minor_units_per_major: Minor units in one unit of the costs' currency.
    """

    amount_minor: ArrayLike | None = None
    days: float | None = None
    minor_units_per_major: int = MINOR_UNITS_PER_MAJOR


def operating_point(
    label: IntArray, is_alert: NDArray[np.bool_], period: Period, objective: Objective | None = None
) -> OperatingPoint:
    """Return what alerting on some of the rows did; its cost under a cost objective.

    Shape:
        ``(n_rows,)`` each, at least one row.
    """
    is_positive = label == 1
    n_alerts, n_positives = int(is_alert.sum()), int(is_positive.sum())
    n_caught = int((is_alert & is_positive).sum())
    cost = None
    if isinstance(objective, CostObjective) and period.amount_minor is not None:
        cost = _total_cost(label, is_alert, period, objective)
    return OperatingPoint(
        n_alerts=n_alerts,
        alert_rate=n_alerts / len(label),
        false_positive_rate=_share(n_alerts - n_caught, len(label) - n_positives),
        recall=_share(n_caught, n_positives),
        precision=_share(n_caught, n_alerts),
        alerts_per_day=None if period.days is None else n_alerts / period.days,
        total_cost=cost,
    )


def _total_cost(
    label: IntArray, is_alert: NDArray[np.bool_], period: Period, objective: CostObjective
) -> float:
    assert period.amount_minor is not None
    costs = RowCosts.of(objective, period.minor_units_per_major)
    at_stake = positive_amounts(period.amount_minor, label).sum() / costs.minor_units_per_major
    saved = costs.savings(period.amount_minor, label == 1)[is_alert].sum()
    return float(costs.loss_rate * at_stake - saved)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")

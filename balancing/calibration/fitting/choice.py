"""Which threshold an objective picks, and how to say so.

Every objective is one choice among candidate scores over cumulated counts, so the data and all
their resamples go through the same few lines.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from balancing.calibration.objectives import describe
from balancing.calibration.thresholds import OperatingPoint
from balancing.metrics.cells import FloatArray, IntArray, ScoreCells, share
from infra.objectives import (
    AlertBudgetObjective,
    CostObjective,
    MaxFprObjective,
    MinPrecisionObjective,
    MinRecallObjective,
    Objective,
)

NONE = -1


@dataclass(frozen=True, slots=True)
class ThresholdChoice:
    """An objective with what it needs to know about the period."""

    objective: Objective
    days: float | None
    minor_units_per_major: int

    def choose(self, cells: ScoreCells) -> IntArray:
        """Return the cell down to which rows are alerts, -1 for none, ``(*, n)`` -> ``(*)``."""
        match self.objective:
            case CostObjective():
                costs = self.costs(cells)
                return np.asarray(costs.argmin(axis=-1) - 1, dtype=np.int64)
            case MaxFprObjective(max_fpr=limit):
                return _last(share(cells.false_positives, cells.n_negatives) <= limit)
            case MinPrecisionObjective(min_precision=limit):
                precision = share(cells.true_positives, _alerts(cells))
                return _last((precision >= limit) & (cells.true_positives > 0))
            case MinRecallObjective(min_recall=limit):
                enough = share(cells.true_positives, cells.n_positives) >= limit
                return np.where(enough.any(axis=-1), enough.argmax(axis=-1), NONE)
            case AlertBudgetObjective(alerts_per_day=budget):
                return _last(_alerts(cells) <= budget * self.known_days)

    @property
    def known_days(self) -> float:
        """Days of the period, checked by ``tune_threshold``."""
        return float("nan") if self.days is None else self.days

    def costs(self, cells: ScoreCells) -> FloatArray:
        """Return the cost of alerting on nothing and down to each cell, ``(*, n_cells + 1)``."""
        assert isinstance(self.objective, CostObjective)
        assert cells.positive_amount is not None
        caught = cells.positive_amount.cumsum(axis=-1) / self.minor_units_per_major
        missed = self.objective.loss_rate * (caught[..., -1:] - caught)
        alerting = (
            missed
            + self.objective.review_cost * _alerts(cells)
            + self.objective.friction_cost * cells.false_positives
        )
        nothing = self.objective.loss_rate * caught[..., -1:]
        return np.concatenate([nothing, alerting], axis=-1)

    def explain(self, cells: ScoreCells, achieved: OperatingPoint, *, is_met: bool) -> str:
        """Return the reason of a threshold, or why there is none, in one line."""
        wanted = describe(self.objective)
        if not is_met:
            return f"{wanted} cannot be met: {self._what_is_feasible(cells)}. No row counts."
        n_positives = int(cells.positives.sum())
        n_rows = n_positives + int(cells.negatives.sum())
        caught = round(achieved.recall * n_positives)
        return (
            f"{wanted}: {achieved.n_alerts} alerts among {n_rows} calibration rows hold {caught} "
            f"of {n_positives} positives (precision {achieved.precision:.3g}, false-positive rate "
            f"{achieved.false_positive_rate:.3g})"
        )

    def _what_is_feasible(self, cells: ScoreCells) -> str:
        top_rows = int(cells.positives[0] + cells.negatives[0])
        match self.objective:
            case MinPrecisionObjective():
                best = np.nanmax(share(cells.true_positives, _alerts(cells)))
                return f"the highest precision of any threshold is {best:.3g}"
            case MaxFprObjective():
                least = float(cells.negatives[0] / cells.negatives.sum())
                return f"the {top_rows} rows that share the highest score have {least:.3g}"
            case AlertBudgetObjective():
                a_day = top_rows / self.known_days
                return f"{top_rows} rows share the highest score, {a_day:.3g} a day"
            case CostObjective():
                nothing = float(self.costs(cells)[0])
                return f"alerting on nothing costs {nothing:.4g}, less than any threshold"
            case MinRecallObjective():
                return "no threshold catches enough positives"


def _alerts(cells: ScoreCells) -> FloatArray:
    return cells.true_positives + cells.false_positives


def _last(is_allowed: NDArray[np.bool_]) -> IntArray:
    n_cells = is_allowed.shape[-1]
    from_the_end = is_allowed[..., ::-1].argmax(axis=-1)
    return np.where(is_allowed.any(axis=-1), n_cells - 1 - from_the_end, NONE).astype(np.int64)

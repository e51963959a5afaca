"""What an objective bounds, counted per segment: hits among units, down to every candidate score.

``max_fpr`` bounds the alerts among the negatives, ``min_recall`` the positives alerted on among
the positives, ``min_precision`` the positives among the alerts, ``alert_budget`` the alerts among
all rows: with segments a budget means the same share of alerts in each.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from balancing.calibration.fitting.choice import NONE
from balancing.calibration.fitting.shrinkage import estimate_prior_hits, shrunk_rate
from balancing.metrics.cells import FloatArray, IntArray, share
from infra.objectives import (
    AlertBudgetObjective,
    CostObjective,
    MaxFprObjective,
    MinPrecisionObjective,
    MinRecallObjective,
    Objective,
)

_MIN_REFERENCE_HITS, _REFERENCE_SHARE = 100.0, 0.01


@dataclass(frozen=True, slots=True)
class SegmentCounts:
    """Positives and negatives at or above every candidate score, per segment.

    Attributes:
        true_positives: Cumulated from the highest score on.
        false_positives: Likewise.

    Shape:
        ``(*, n_segments, n_cells)`` each; the last segment holds the rows of none.
    """

    true_positives: FloatArray
    false_positives: FloatArray

    @property
    def alerts(self) -> FloatArray:
        """All rows down to each cell."""
        alerts: FloatArray = self.true_positives + self.false_positives
        return alerts


def hits_and_units(objective: Objective, counts: SegmentCounts) -> tuple[FloatArray, FloatArray]:
    """Return what the objective bounds and what it is a share of.

    Shape:
        ``(*, n_segments, n_cells)``; units ``(*, n_segments, 1)`` where they are the same for
        every cell.
    """
    match objective:
        case MaxFprObjective():
            return counts.false_positives, counts.false_positives[..., -1:]
        case MinRecallObjective():
            return counts.true_positives, counts.true_positives[..., -1:]
        case MinPrecisionObjective():
            return counts.true_positives, counts.alerts
        case AlertBudgetObjective():
            return counts.alerts, counts.alerts[..., -1:]
        case CostObjective():
            raise ValueError("Costs decide row by row and need no segments.")


def prior_hits(objective: Objective, counts: SegmentCounts) -> float:
    """Return how many hits the prior is worth; infinite where segments do not differ.

    It is read where enough hits lie to compare segments: at half of the positives for objectives
    on positives, else at one in a hundred units, or a hundred hits where that is more. The place
    does not depend on the limit, so thresholds stay monotone in it.

    Shape:
        ``(n_segments, n_cells)``.
    """
    hits, units = hits_and_units(objective, counts)
    total = hits.sum(axis=0)
    is_on_positives = isinstance(objective, MinRecallObjective | MinPrecisionObjective)
    few = max(_MIN_REFERENCE_HITS, _REFERENCE_SHARE * total[-1])
    wanted = total[-1] / 2 if is_on_positives else min(few, total[-1] / 2)
    at = int((total >= wanted).argmax())
    return estimate_prior_hits(hits[:, at], units[:, min(at, units.shape[1] - 1)])


@dataclass(frozen=True, slots=True)
class SegmentRule:
    """An objective's limit as a rate, applied to shrunk rates of segments.

    Attributes:
        objective: What is bounded.
        limit: The bound, as a share of the units.
        prior_hits: The prior's worth, finite.
    """

    objective: Objective
    limit: float
    prior_hits: float

    @property
    def is_upper(self) -> bool:
        """Whether the rate must stay at or below the limit."""
        return isinstance(self.objective, MaxFprObjective | AlertBudgetObjective)

    def rates(self, counts: SegmentCounts) -> FloatArray:
        """Return the shrunk rates, NaN before the first unit, ``(*, n_segments, n_cells)``."""
        hits, units = hits_and_units(self.objective, counts)
        whole = np.broadcast_to(units, hits.shape).sum(axis=-2, keepdims=True)
        overall = share(hits.sum(axis=-2, keepdims=True), whole)
        return shrunk_rate(hits, units, overall, self.prior_hits)

    def choose(self, rates: FloatArray) -> IntArray:
        """Return the cell down to which rows are alerts, -1 for none -> ``(*, n_segments)``."""
        if self.is_upper:
            return _last(rates <= self.limit)
        # A limit is positive, so that an empty rate of NaN or 0 never meets it.
        is_enough = rates >= self.limit
        if isinstance(self.objective, MinPrecisionObjective):
            return _last(is_enough)
        return np.where(is_enough.any(axis=-1), is_enough.argmax(axis=-1), NONE).astype(np.int64)


def _last(is_allowed: NDArray[np.bool_]) -> IntArray:
    n_cells = is_allowed.shape[-1]
    last = n_cells - 1 - is_allowed[..., ::-1].argmax(axis=-1)
    return np.where(is_allowed.any(axis=-1), last, NONE).astype(np.int64)

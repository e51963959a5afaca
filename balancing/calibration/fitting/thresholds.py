"""Finds the threshold that meets an objective, with a bootstrap interval and a reason.

On the data each distinct score is a candidate; on resamples the positives' scores, the highest
negatives' and evenly spread ranks of the others are.

An objective that no threshold meets is no error here: the threshold is ``None`` (no row counts,
however high its score) and the reason says what would have been feasible.
"""

import logging

import numpy as np
from numpy.typing import ArrayLike

from balancing.calibration.fitting.calibrators import CalibrationError
from balancing.calibration.fitting.choice import NONE, ThresholdChoice
from balancing.calibration.fitting.operating_points import Period, operating_point
from balancing.calibration.thresholds import TunedThreshold
from balancing.metrics.cells import (
    FloatArray,
    IntArray,
    check_labels,
    check_scores,
    count_cells,
    descending_cells,
)
from balancing.metrics.costs import MINOR_UNITS_PER_MAJOR
from balancing.metrics.intervals import Interval, percentile_interval
from balancing.metrics.resampling import CellResampler
from infra.objectives import AlertBudgetObjective, CostObjective, Objective

logger = logging.getLogger(__name__)

N_REPLICATES = 500
_TOP_NEGATIVES = 1000
_SPREAD_NEGATIVES = 1000


def tune_threshold(
    label: ArrayLike,
    risk_score: ArrayLike,
    objective: Objective,
    *,
    amount_minor: ArrayLike | None = None,
    days: float | None = None,
    minor_units_per_major: int = MINOR_UNITS_PER_MAJOR,
    n_replicates: int = N_REPLICATES,
    seed: int = 0,
) -> TunedThreshold:
    """Return the threshold that serves an objective best on these rows.

    The threshold lies halfway between the last score that counts and the next lower one, so that
    a difference in the last bits of a score flips no decision.

    Args:
        label: 0 or 1 per row, at least one of each.
        risk_score: Calibrated probability.
        objective: What the threshold is for.
        amount_minor: Amount per row in minor currency units; needed for ``cost``. A missing
            amount counts as 0.
        days: Length of the period in days; needed for ``alert_budget`` without ``rows_per_day``.
        minor_units_per_major: Minor units in one unit of the costs' currency.
        n_replicates: Resamples behind the interval.
        seed: Same seed, same interval.

    Raises:
        CalibrationError: If the objective needs amounts or days that are not there, or its alert
            budget exceeds the traffic.
        ValueError: If labels or scores are unusable.
    """
    labels = check_labels(label, both_classes=True)
    scores = check_scores(risk_score, len(labels), name="risk_score")
    days = days_for(objective, days, len(labels))
    _check_needs(objective, amount_minor, days, len(labels))
    choice = ThresholdChoice(objective, days, minor_units_per_major)
    amount = amount_minor if isinstance(objective, CostObjective) else None

    cells = count_cells(labels, scores, amount=amount)
    chosen = int(choice.choose(cells))
    threshold = cut_below(np.unique(scores)[::-1], chosen)
    interval, feasible_share = _bootstrap(
        choice, labels, scores, amount, threshold, n_replicates=n_replicates, seed=seed
    )
    achieved = operating_point(
        labels,
        scores >= (np.inf if threshold is None else threshold),
        Period(amount_minor, days, minor_units_per_major),
        objective,
    )
    logger.info(
        "threshold tuned",
        extra={"objective": objective.objective, "decision_threshold": threshold},
    )
    return TunedThreshold(
        objective=objective,
        threshold=threshold,
        interval=interval,
        feasible_share=feasible_share,
        achieved=achieved,
        reason=choice.explain(cells, achieved, is_met=threshold is not None),
    )


def _bootstrap(
    choice: ThresholdChoice,
    label: IntArray,
    score: FloatArray,
    amount: ArrayLike | None,
    threshold: float | None,
    *,
    n_replicates: int,
    seed: int,
) -> tuple[Interval, float]:
    """Return the threshold's interval and the share of resamples that had one."""
    distinct, place = descending_cells(score)
    ends = _candidate_ends(place, label, len(distinct))
    cell_of_score = np.searchsorted(ends, np.arange(len(distinct)))
    resampler = CellResampler.by_cell(label, [cell_of_score[place]], amount=amount)
    below = [cut_below(distinct, int(end)) for end in ends]
    cuts = np.array([*below, None], dtype=np.float64)  # the last stands for no threshold
    drawn = [cuts[choice.choose(cells)] for (cells,) in resampler.draw(n_replicates, seed=seed)]
    thresholds = np.concatenate(drawn)
    value = float("nan") if threshold is None else threshold
    return percentile_interval(value, thresholds), float(np.mean(~np.isnan(thresholds)))


def _candidate_ends(place: IntArray, label: IntArray, n_distinct: int) -> IntArray:
    """Return the distinct scores, as places from the top, that resamples may cut below."""
    negatives = np.sort(place[label == 0])
    # Evenly over the log of the rank: a rate is cut as finely at 1 % as at 50 %.
    ranks = np.geomspace(1, len(negatives), _SPREAD_NEGATIVES).astype(np.int64) - 1
    return np.unique(
        np.concatenate(
            [place[label == 1], negatives[:_TOP_NEGATIVES], negatives[ranks], [n_distinct - 1]]
        )
    )


def cut_below(distinct: FloatArray, chosen: int) -> float | None:
    """Return a threshold under the ``chosen`` score from the top and above the next one.

    Args:
        distinct: Distinct scores, the highest first.
        chosen: Place of the last score that counts, ``NONE`` where none does.
    """
    if chosen == NONE:
        return None
    score = float(distinct[chosen])
    if chosen + 1 == len(distinct):
        return score
    halfway = (score + float(distinct[chosen + 1])) / 2
    return halfway if halfway > distinct[chosen + 1] else score


def days_for(objective: Objective, days: float | None, n_rows: int) -> float | None:
    """Return the length of the period: by the traffic that the objective states, else as given."""
    if isinstance(objective, AlertBudgetObjective) and objective.rows_per_day is not None:
        return n_rows / objective.rows_per_day
    return days


def _check_needs(
    objective: Objective, amount_minor: ArrayLike | None, days: float | None, n_rows: int
) -> None:
    if isinstance(objective, CostObjective) and amount_minor is None:
        raise CalibrationError(
            "The cost objective needs amounts, and the data have none. Name an amount column in "
            "the contract, or choose max_fpr, min_precision, min_recall or alert_budget."
        )
    if not isinstance(objective, AlertBudgetObjective):
        return
    if days is None or days <= 0:
        raise CalibrationError(
            "The alert_budget objective needs the length of the period. Name an event_time "
            "column in the contract, or give rows_per_day in the objective."
        )
    if objective.alerts_per_day >= n_rows / days:
        raise CalibrationError(
            f"alerts_per_day must be below the traffic of {n_rows / days:.4g} rows a day. Got "
            f"alerts_per_day={objective.alerts_per_day:g}: every row would be an alert."
        )

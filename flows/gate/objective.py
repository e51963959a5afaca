"""The objective of the policy that decides until now, as a figure of both versions.

Where the objective bounds something (alerts a day, a false-positive rate, a precision, a recall),
both are read at that same bound, so that neither wins by alerting more. Under costs each is charged
for what its own policy decides, at the champion's costs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import polars as pl

from balancing.calibration.objectives import describe
from balancing.calibration.policy import Policy
from balancing.calibration.row_costs import RowCosts
from balancing.calibration.thresholds import REVIEW
from balancing.metrics.alerts import recall_at_k_of
from balancing.metrics.cells import FloatArray, ScoreCells
from balancing.metrics.intervals import Interval, bootstrap_interval, paired_difference
from balancing.metrics.loss_intervals import mean_interval
from balancing.metrics.operating_point import (
    precision_at_recall_of,
    recall_at_fpr_of,
    recall_at_precision_of,
)
from features.labels import LABEL
from flows.gate.clusters import CLUSTER
from flows.gate.rows import scores_of
from flows.impact_figures import NEW, OLD
from infra.objectives import (
    AlertBudgetObjective,
    CostObjective,
    MaxFprObjective,
    MinPrecisionObjective,
    MinRecallObjective,
    Objective,
)

Statistic = Callable[[ScoreCells], FloatArray]


@dataclass(frozen=True, slots=True)
class Compared:
    """One figure of both versions on the same rows.

    Attributes:
        what: What it is, as it reads in a sentence.
        champion: The champion's, with its interval.
        challenger: The challenger's.
        gain: How much better the challenger is, from paired resamples; above 0 is better.
    """

    what: str
    champion: Interval
    challenger: Interval
    gain: Interval


def compare_scores(
    what: str, rows: pl.DataFrame, statistic: Statistic, *, confidence: float, seed: int
) -> Compared:
    """Return a ranking figure of both versions.

    Args:
        what: What it is called.
        rows: Labelled rows that both have scored, with a positive among them.
        statistic: Its formula; higher is better.
        confidence: Of the intervals.
        seed: Same seed, same intervals.
    """
    label, old, new = scores_of(rows)
    cluster = rows[CLUSTER]
    interval = partial(bootstrap_interval, cluster=cluster, confidence=confidence, seed=seed)
    difference = partial(paired_difference, cluster=cluster, confidence=confidence, seed=seed)
    return Compared(
        what,
        champion=interval(label, old, statistic),
        challenger=interval(label, new, statistic),
        gain=difference(label, new, old, statistic),
    )


def compare_objective(
    rows: pl.DataFrame,
    policy: Policy,
    *,
    days: float | None,
    minor_units_per_major: int,
    confidence: float,
    seed: int,
) -> Compared | None:
    """Return the champion's review objective as both versions serve it.

    None where it cannot be read on these rows: a budget of alerts a day on rows without days, or
    costs on rows without amounts.

    Args:
        rows: Labelled rows that both have decided, with a positive among them.
        policy: The champion's.
        days: That the rows cover.
        minor_units_per_major: Minor units in one unit of the costs' currency.
        confidence: Of the intervals.
        seed: Same seed, same intervals.
    """
    objective = policy.thresholds.review.objective
    if isinstance(objective, CostObjective):
        costs = policy.costs or RowCosts.of(objective, minor_units_per_major)
        return _compare_costs(rows, costs, objective, days, confidence=confidence, seed=seed)
    found = _statistic(objective, rows.height, days)
    if found is None:
        return None
    what, statistic = found
    what = f"{what} ({describe(objective)})"
    return compare_scores(what, rows, statistic, confidence=confidence, seed=seed)


def _statistic(
    objective: Objective, n_rows: int, days: float | None
) -> tuple[str, Statistic] | None:
    """Return what an objective other than costs wants much of."""
    match objective:
        case MaxFprObjective():
            return "recall", partial(recall_at_fpr_of, max_fpr=objective.max_fpr)
        case MinPrecisionObjective():
            return "recall", partial(recall_at_precision_of, min_precision=objective.min_precision)
        case MinRecallObjective():
            return "precision", partial(precision_at_recall_of, min_recall=objective.min_recall)
        case AlertBudgetObjective():
            if objective.rows_per_day is not None:
                days = n_rows / objective.rows_per_day
            if days is None:
                return None
            k = min(n_rows, max(1, round(objective.alerts_per_day * days)))
            return "recall", partial(recall_at_k_of, k=k)
    raise AssertionError(objective)


def _compare_costs(
    rows: pl.DataFrame,
    costs: RowCosts,
    objective: CostObjective,
    days: float | None,
    *,
    confidence: float,
    seed: int,
) -> Compared | None:
    """Return what both cost a row, or a day where that is known; the gain as a share of it."""
    if rows["amount_minor"].null_count() == rows.height:
        return None
    amount = rows["amount_minor"].cast(pl.Float64).to_numpy()
    is_positive = (rows[LABEL] == 1).to_numpy()
    saved = costs.savings(amount, is_positive)
    alone = np.where(is_positive, saved + costs.review_cost, 0.0)  # what approving all rows loses
    old, new = (
        alone - np.where((rows[f"{which}_decision"] >= REVIEW).to_numpy(), saved, 0.0)
        for which in (OLD, NEW)
    )
    interval = partial(mean_interval, cluster=rows[CLUSTER], confidence=confidence, seed=seed)
    rows_per_day = 1.0 if days is None else rows.height / days
    champion = _scaled(interval(old), rows_per_day)
    base = float(old.mean())
    return Compared(
        f"cost a {'row' if days is None else 'day'} ({describe(objective)})",
        champion=champion,
        challenger=_scaled(interval(new), rows_per_day),
        gain=_scaled(interval(old - new), 1 / base if base > 0 else float("nan")),
    )


def _scaled(interval: Interval, factor: float) -> Interval:
    return Interval(interval.value * factor, interval.low * factor, interval.high * factor)

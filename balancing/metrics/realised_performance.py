"""What a policy achieved on rows whose labels are known, some of them standing for others.

A declined transaction never happens, so nobody reports what it would have been. Where a few
declines are let through at a known rate, each of them stands for 1 / rate declines (inverse
probability weighting; Horvitz and Thompson, 1952).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from balancing.metrics.cells import (
    FloatArray,
    ScoreCells,
    check_labels,
    check_scores,
    descending_cells,
)
from balancing.metrics.intervals import Interval, bootstrap_interval, percentile_interval
from balancing.metrics.proportions import share_interval
from balancing.metrics.ranking import average_precision_of

N_REPLICATES = 200


@dataclass(frozen=True, slots=True)
class RealisedPerformance:
    """Figures on labelled rows.

    Attributes:
        positives: Their number, with weights the number that they stand for.
        precision: Share of positives among the alerts; NaN without alerts.
        recall: Share of the positives that are alerts.
        average_precision: By the score.
    """

    positives: float
    precision: Interval
    recall: Interval
    average_precision: Interval


def realised_performance(
    label: ArrayLike,
    risk_score: ArrayLike,
    is_alert: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    n_replicates: int = N_REPLICATES,
    seed: int = 0,
) -> RealisedPerformance:
    """Return what decisions achieved on labelled rows, with 95 % intervals.

    Args:
        label: 0 or 1 per row, at least one 1.
        risk_score: Higher means riskier.
        is_alert: Whether the policy would have the row reviewed or declined.
        weight: Rows that each one stands for, at least 0; default: 1.
        n_replicates: Resamples behind the interval of average precision.
        seed: Same seed, same interval.

    Raises:
        ValueError: If there is no positive, or a score is NaN.
    """
    labels, alerts = check_labels(label), np.asarray(is_alert, dtype=bool)
    scores = check_scores(risk_score, len(labels))
    weights = np.ones(len(labels)) if weight is None else check_scores(weight, len(labels))
    if not (weights >= 0).all():
        raise ValueError("weight must be at least 0.")
    is_positive = labels == 1
    if weight is None:
        ranking = bootstrap_interval(
            labels, scores, average_precision_of, n_replicates=n_replicates, seed=seed
        )
    else:
        ranking = _weighted_average_precision(
            is_positive, scores, weights, n_replicates=n_replicates, seed=seed
        )
    return RealisedPerformance(
        positives=float(weights[is_positive].sum()),
        precision=share_interval(is_positive[alerts], weights[alerts]),
        recall=share_interval(alerts[is_positive], weights[is_positive]),
        average_precision=ranking,
    )


def _weighted_average_precision(
    is_positive: NDArray[np.bool_],
    score: FloatArray,
    weight: FloatArray,
    *,
    n_replicates: int,
    seed: int,
) -> Interval:
    """Return the average precision of weighted rows; rows are resampled with their weights."""
    distinct, place = descending_cells(score)
    rng = np.random.default_rng(seed)

    def figure(weights: FloatArray) -> float:
        positives, rows = (
            np.bincount(place, weights=each, minlength=len(distinct)).astype(np.float64)
            for each in (weights * is_positive, weights)
        )
        return float(average_precision_of(ScoreCells(positives, rows - positives)))

    drawn = [figure(weight * rng.poisson(1.0, len(weight))) for _ in range(n_replicates)]
    return percentile_interval(figure(weight), np.array(drawn))

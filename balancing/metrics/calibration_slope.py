"""Whether probabilities are too timid or too bold: the slope of Cox's recalibration line.

The line is logit P(label) = intercept + slope logit(p). A slope of 1 with an intercept of 0 is
what calibration means; below 1 the probabilities are too extreme, above 1 too near the base rate.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from balancing.metrics.calibration_quality import check_probabilities
from balancing.metrics.cells import FloatArray, check_labels
from balancing.metrics.intervals import CONFIDENCE, Interval, percentile_interval
from balancing.metrics.loss_intervals import RowGroups

N_REPLICATES = 500
# Beyond it exp underflows next to 1: no rows tell such log-odds apart.
_LARGEST_LOG_ODDS = 30.0
_MAX_STEPS = 50
_TOLERANCE = 1e-9
_MAX_MOVE = 4.0
_GROUPS_AT_ONCE = 2_000_000


@dataclass(frozen=True, slots=True)
class CalibrationLine:
    """Slope and intercept of Cox's line, each with its interval."""

    slope: Interval
    intercept: Interval

    @property
    def covers_calibration(self) -> bool:
        """Whether the slope's interval holds 1."""
        return self.slope.low <= 1 <= self.slope.high


def calibration_line(
    label: ArrayLike,
    probability: ArrayLike,
    *,
    n_replicates: int = N_REPLICATES,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> CalibrationLine:
    """Return slope and intercept of the line from predicted to observed log-odds.

    Intervals come from Poisson resamples of rows; the many alike rows between the outermost ones
    are drawn in small groups. A resample whose classes no score separates only in part has no
    finite slope and is left out.

    Args:
        label: 0 or 1 per row, at least one of each.
        probability: In [0, 1].
        n_replicates: Resamples behind the intervals.
        confidence: Share of the replicates between the two ends.
        seed: Same seed, same intervals.

    Raises:
        ValueError: If a class is missing, or a probability is outside [0, 1].
    """
    check_labels(label, both_classes=True)
    labels, probabilities = check_probabilities(label, probability)
    with np.errstate(divide="ignore"):
        odds = np.log(probabilities) - np.log1p(-probabilities)
    odds = np.clip(odds, -_LARGEST_LOG_ODDS, _LARGEST_LOG_ODDS)
    groups = RowGroups.by(odds, keep_apart=labels)
    place, outcome = groups.mean(odds), groups.mean(labels.astype(np.float64))
    observed = _fit_lines(groups.sizes.astype(np.float64)[None], place, outcome)[0]
    rng = np.random.default_rng(seed)
    block = max(1, _GROUPS_AT_ONCE // len(place))
    drawn = np.concatenate(
        [
            _fit_lines(
                rng.poisson(groups.sizes, (min(block, n_replicates - at), len(place))).astype(
                    np.float64
                ),
                place,
                outcome,
            )
            for at in range(0, n_replicates, block)
        ]
    )
    intercept, slope = (
        percentile_interval(float(observed[each]), drawn[:, each], confidence=confidence)
        for each in (0, 1)
    )
    return CalibrationLine(slope=slope, intercept=intercept)


def _fit_lines(weights: FloatArray, place: FloatArray, outcome: FloatArray) -> FloatArray:
    """Return intercept and slope per set of weights, NaN where there is no finite maximum.

    Shape:
        ``(n_replicates, n_groups)`` -> ``(n_replicates, 2)``.
    """
    lines = np.tile([0.0, 1.0], (len(weights), 1))
    moving = np.ones(len(weights), dtype=bool)
    squared = place**2
    for _ in range(_MAX_STEPS):
        weight = weights[moving]
        odds = lines[moving, :1] + lines[moving, 1:] * place
        fitted = 1 / (1 + np.exp(-np.clip(odds, -500, 500)))
        residual = weight * (outcome - fitted)
        spread = weight * fitted * (1 - fitted)
        gradient = np.stack([residual.sum(axis=1), residual @ place], axis=1)
        a, b, c = spread.sum(axis=1), spread @ place, spread @ squared
        determinant = a * c - b * b
        with np.errstate(divide="ignore", invalid="ignore"):
            move = (
                np.stack(
                    [
                        c * gradient[:, 0] - b * gradient[:, 1],
                        a * gradient[:, 1] - b * gradient[:, 0],
                    ],
                    axis=1,
                )
                / determinant[:, None]
            )
        # Newton's step is cut where it would leave what the curvature describes.
        longest = np.abs(move).max(axis=1, keepdims=True)
        move *= np.minimum(1.0, _MAX_MOVE / np.maximum(longest, _MAX_MOVE))
        lines[moving] += move
        still = ~(np.abs(move).max(axis=1) < _TOLERANCE)
        moving[np.flatnonzero(moving)[~still]] = False
        if not moving.any():
            return lines
    lines[moving] = np.nan
    return lines

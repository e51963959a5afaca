"""The base rate of unlabelled rows, by expectation-maximisation (Saerens et al. 2002).

It rests on label shift: rows of a class look alike in both periods, only the share of the classes
differs. A new kind of fraud, a new sales channel, or rows missing because they were declined break
that, and no test sees all of it. What can be seen is checked first, and a failed check is a
refusal: calibrated scores on the calibration rows, enough rows, scores from the same range, and
the same base rate whether it is read from the highest scores or from lower ones.
"""

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from balancing.calibration.prior_shift import PriorShift
from balancing.metrics.calibration_quality import check_probabilities
from balancing.metrics.calibration_slope import calibration_line
from balancing.metrics.cells import FloatArray, IntArray, check_labels
from balancing.metrics.intervals import Interval, percentile_interval
from balancing.metrics.loss_intervals import RowGroups
from infra.errors import Refusal

logger = logging.getLogger(__name__)

FEWEST_EXPECTED_POSITIVES = 100
"""100,000 rows at a base rate of 0.1 %; below that, one burst of fraud would be the estimate."""
MOST_OUTSIDE = 0.01
MOST_STEPS = 1000
_N_REPLICATES = 200
_RELATIVE_TOLERANCE = 1e-6
MOST_DISAGREEMENT = 0.25
"""Of the base rate read at a height of score against the estimate, beyond three standard errors."""
_HEIGHTS = (0.1, 0.3, 0.5, 0.7, 0.9)


class PriorNotEstimable(Refusal):
    """Raised when the rows cannot carry an estimate of their base rate."""


@dataclass(frozen=True, slots=True)
class PriorEstimate:
    """A base rate estimated without labels.

    Attributes:
        prevalence: Share of positives, with the interval that the number of unlabelled and of
            calibration rows gives. What the calibrator's shape does not know comes on top.
        trained_prevalence: Mean calibrated probability of the calibration rows: the base rate
            that the probabilities were made for.
        n_rows: Unlabelled rows.
        n_steps: Steps until the estimate stood still.
    """

    prevalence: Interval
    trained_prevalence: float
    n_rows: int
    n_steps: int

    @property
    def shift(self) -> PriorShift:
        """The correction that brings probabilities to the estimated base rate."""
        return PriorShift(
            trained_prevalence=self.trained_prevalence, deployed_prevalence=self.prevalence.value
        )


def estimate_prior(
    probability: ArrayLike,
    *,
    calibration_label: ArrayLike,
    calibration_probability: ArrayLike,
    seed: int = 0,
) -> PriorEstimate:
    """Return the base rate of unlabelled rows from their calibrated probabilities.

    Args:
        probability: Of the unlabelled rows, calibrated, before any prior shift.
        calibration_label: 0 or 1, of the rows that the calibrator was fitted on.
        calibration_probability: Their probabilities, by the same calibrator.
        seed: Decides the resamples.

    Shape:
        ``(n_rows,)``; ``(n_calibration_rows,)`` each.

    Raises:
        PriorNotEstimable: If a precondition fails; the text says which, with the figure.
        ValueError: If a probability is outside [0, 1] or a class is missing.
    """
    check_labels(calibration_label, both_classes=True)
    labels, calibrated = check_probabilities(calibration_label, calibration_probability)
    scores = _check_scores(probability)
    _require_calibration(labels, calibrated, seed)
    _require_overlap(scores, calibrated)
    groups = RowGroups.by(scores)
    at, trained = groups.mean(scores), float(calibrated.mean())
    observed, n_steps = _maximise(at, groups.sizes[None], np.array([trained]))
    prevalence = float(observed[0])
    if np.isnan(prevalence):
        raise PriorNotEstimable(
            f"The base rate still moved after {MOST_STEPS} steps of expectation-maximisation: the "
            "scores tell the classes apart too little. State the base rate instead."
        )
    _require_rows(prevalence, len(scores))
    _require_agreement(scores, labels, calibrated, prevalence)
    rng = np.random.default_rng(seed)
    weights = rng.poisson(groups.sizes, (_N_REPLICATES, len(groups.sizes)))
    replicates, _ = _maximise(at, weights, _resampled_mean(calibrated, rng))
    logger.info("base rate estimated", extra={"prevalence": prevalence, "n_steps": n_steps})
    return PriorEstimate(
        prevalence=percentile_interval(prevalence, replicates),
        trained_prevalence=trained,
        n_rows=len(scores),
        n_steps=n_steps,
    )


def _maximise(
    probability: FloatArray, weights: IntArray, trained: FloatArray
) -> tuple[FloatArray, int]:
    """Return the likeliest base rate per set of weights, NaN where it kept moving, and the steps.

    A row is p / pi times likelier among positives and (1 - p) / (1 - pi) times among negatives;
    a step takes the mean posterior at the present base rate as the next one.

    Shape:
        ``(n_groups,)``, ``(n_sets, n_groups)``, ``(n_sets,)`` -> ``(n_sets,)``.
    """
    rate, counts = trained.copy(), weights.astype(np.float64)
    total = counts.sum(axis=1)
    moving = np.flatnonzero(total > 0)
    for n_steps in range(1, MOST_STEPS + 1):
        now, prior = rate[moving, None], trained[moving, None]
        positive = now / prior * probability
        share = positive / (positive + (1 - now) / (1 - prior) * (1 - probability))
        after = (counts[moving] * share).sum(axis=1) / total[moving]
        is_still = np.abs(after - rate[moving]) <= _RELATIVE_TOLERANCE * rate[moving]
        rate[moving] = after
        moving = moving[~is_still]
        if not moving.size:
            return rate, n_steps
    rate[moving] = np.nan
    return rate, MOST_STEPS


def _resampled_mean(probability: FloatArray, rng: np.random.Generator) -> FloatArray:
    groups = RowGroups.by(probability)
    weights = rng.poisson(groups.sizes, (_N_REPLICATES, len(groups.sizes)))
    means: FloatArray = (weights @ groups.mean(probability)) / weights.sum(axis=1)
    return means


def _check_scores(probability: ArrayLike) -> FloatArray:
    scores = np.asarray(probability, dtype=np.float64)
    if scores.ndim != 1 or not scores.size or not np.isfinite(scores).all():
        raise ValueError(f"probability must be finite, one per row. Got shape {scores.shape}.")
    if scores.min() < 0 or scores.max() > 1:
        raise ValueError(
            f"probability must be in [0, 1]. Got {scores.min():g} to {scores.max():g}."
        )
    return scores


def _require_calibration(label: IntArray, probability: FloatArray, seed: int) -> None:
    line = calibration_line(label, probability, seed=seed)
    if not line.covers_calibration:
        raise PriorNotEstimable(
            "The base rate cannot be estimated from scores that are not calibrated: on the "
            f"calibration rows their slope is {line.slope}, and its interval must hold 1. "
            "Recalibrate first."
        )


def _require_overlap(score: FloatArray, calibrated: FloatArray) -> None:
    outside = float(((score < calibrated.min()) | (score > calibrated.max())).mean())
    if outside > MOST_OUTSIDE:
        raise PriorNotEstimable(
            f"{outside:.1%} of the unlabelled rows score outside the range of the calibration "
            f"rows, {MOST_OUTSIDE:.0%} at most may: these rows are of another kind. Label some "
            "and recalibrate on them."
        )


def _require_rows(prevalence: float, n_rows: int) -> None:
    expected = prevalence * n_rows
    if expected < FEWEST_EXPECTED_POSITIVES:
        needed = np.ceil(FEWEST_EXPECTED_POSITIVES / max(prevalence, 1e-9))
        raise PriorNotEstimable(
            f"{n_rows} unlabelled rows hold about {expected:.3g} positives, and an estimate of "
            f"their base rate needs {FEWEST_EXPECTED_POSITIVES}: some {needed:.3g} rows at this "
            "rate. Take a longer period, or state the base rate."
        )


def _require_agreement(
    score: FloatArray, label: IntArray, calibrated: FloatArray, prevalence: float
) -> None:
    """Read the base rate from the share of rows above several heights of score.

    Above a height lie q t + (1 - q) f of the rows, t and f the shares of calibration positives
    and negatives there. Under label shift every height gives the same q.
    """
    positive, negative = calibrated[label == 1], calibrated[label == 0]
    for height in _HEIGHTS:
        cut = np.quantile(positive, height)
        caught, false = (float((rows >= cut).mean()) for rows in (positive, negative))
        above = float((score >= cut).mean())
        if caught <= false:
            continue
        read = (above - false) / (caught - false)
        error = np.sqrt(
            above * (1 - above) / len(score)
            + ((1 - prevalence) ** 2) * (false * (1 - false)) / len(negative)
            + prevalence**2 * (caught * (1 - caught)) / len(positive)
        ) / (caught - false)
        if abs(read - prevalence) > 3 * error + MOST_DISAGREEMENT * prevalence:
            raise PriorNotEstimable(
                f"No base rate explains the unlabelled scores: by expectation-maximisation it is "
                f"{prevalence:.3g}, but read from the scores that {1 - height:.0%} of the "
                f"calibration positives reach it is {max(read, 0.0):.3g}. More than the base rate "
                "has changed: label some rows and recalibrate on them."
            )

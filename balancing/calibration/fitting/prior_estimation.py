"""The base rate of unlabelled rows, by expectation-maximisation (Saerens et al. 2002).

It rests on label shift: rows of a class look alike in both periods, only the share of the classes
differs. A new kind of fraud, a new sales channel, or rows missing because they were declined break
that, and no test sees all of it. What can be seen is checked first, and a failed check is a
refusal: calibrated scores on the calibration rows, enough rows, scores from the same range, and
a distribution of scores that some base rate explains.
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
_N_SCORE_BINS = 20
# Five standard errors of the mean scaled difference: chance alone crosses it once in millions.
_LARGEST_MISFIT = 5.0


class PriorNotEstimable(Refusal):
    """Raised when the rows cannot carry an estimate of their base rate."""


@dataclass(frozen=True, slots=True)
class PriorEstimate:
    """A base rate estimated without labels.

    Attributes:
        prevalence: Share of positives, with the interval that the unlabelled rows' number gives.
            What the calibrator itself does not know comes on top.
        trained_prevalence: Share of positives among the calibration rows.
        n_rows: Unlabelled rows.
        n_steps: Steps until the estimate stood still.
        misfit: How far the scores' distribution is from the mixture, in standard errors.
    """

    prevalence: Interval
    trained_prevalence: float
    n_rows: int
    n_steps: int
    misfit: float

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
    trained = float(labels.mean())
    _require_calibration(labels, calibrated, seed)
    _require_overlap(scores, calibrated)
    groups = RowGroups.by(scores)
    likelihood = _Likelihood.of(groups.mean(scores), trained)
    sizes = groups.sizes.astype(np.float64)[None]
    observed, n_steps = likelihood.maximise(sizes)
    prevalence = float(observed[0])
    if np.isnan(prevalence):
        raise PriorNotEstimable(
            f"The base rate still moved after {MOST_STEPS} steps of expectation-maximisation: the "
            "scores tell the classes apart too little. State the base rate instead."
        )
    _require_rows(prevalence, len(scores))
    misfit = _misfit(scores, labels, calibrated, prevalence)
    _require_mixture(misfit)
    weights = np.random.default_rng(seed).poisson(groups.sizes, (_N_REPLICATES, len(groups.sizes)))
    replicates, _ = likelihood.maximise(weights.astype(np.float64))
    logger.info("base rate estimated", extra={"prevalence": prevalence, "n_steps": n_steps})
    return PriorEstimate(
        prevalence=percentile_interval(prevalence, replicates),
        trained_prevalence=trained,
        n_rows=len(scores),
        n_steps=n_steps,
        misfit=misfit,
    )


@dataclass(frozen=True, slots=True)
class _Likelihood:
    """p / pi and (1 - p) / (1 - pi) of each group: how much likelier it is in each class."""

    positive: FloatArray
    negative: FloatArray
    start: float

    @classmethod
    def of(cls, probability: FloatArray, prevalence: float) -> "_Likelihood":
        return cls(probability / prevalence, (1 - probability) / (1 - prevalence), prevalence)

    def maximise(self, weights: FloatArray) -> tuple[FloatArray, int]:
        """Return the base rate per set of weights, NaN where it did not stand still, and steps.

        Shape:
            ``(n_sets, n_groups)`` -> ``(n_sets,)``.
        """
        rate = np.full(len(weights), self.start)
        total = weights.sum(axis=1)
        moving = total > 0
        for n_steps in range(1, MOST_STEPS + 1):
            now = rate[moving, None]
            share = now * self.positive / (now * self.positive + (1 - now) * self.negative)
            after = (weights[moving] * share).sum(axis=1) / total[moving]
            is_still = np.abs(after - rate[moving]) <= _RELATIVE_TOLERANCE * rate[moving]
            rate[moving] = after
            moving[np.flatnonzero(moving)[is_still]] = False
            if not moving.any():
                return rate, n_steps
        rate[moving] = np.nan
        return rate, MOST_STEPS


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


def _misfit(score: FloatArray, label: IntArray, calibrated: FloatArray, prevalence: float) -> float:
    """Return how far counts of scores are from the mixture of both classes, in standard errors.

    Bins hold equal shares of the mixture, so that those where positives lie are told apart. Each
    bin's difference is scaled by its error: the unlabelled counts' and, larger where positives
    are few, the calibration shares'.
    """
    positive, negative = calibrated[label == 1], calibrated[label == 0]
    half = _N_SCORE_BINS // 2
    steps = np.linspace(0, 1, half + 1)[1:-1]
    edges = np.unique(np.concatenate([np.quantile(positive, steps), np.quantile(negative, steps)]))
    shares, errors = [], []
    for rows, weight in ((positive, prevalence), (negative, 1 - prevalence)):
        part = _shares(rows, edges)
        shares.append(weight * part)
        errors.append(weight**2 * (part * (1 - part) + 1 / len(rows)) / len(rows))
    expected = np.sum(shares, axis=0)
    variance = np.sum(errors, axis=0) + (expected * (1 - expected) + 1 / len(score)) / len(score)
    squared = (_shares(score, edges) - expected) ** 2 / variance
    return float((squared.mean() - 1) * np.sqrt(len(squared) / 2))


def _shares(score: FloatArray, edges: FloatArray) -> FloatArray:
    counts = np.bincount(np.searchsorted(edges, score, side="right"), minlength=len(edges) + 1)
    shares: FloatArray = counts / len(score)
    return shares


def _require_mixture(misfit: float) -> None:
    if misfit > _LARGEST_MISFIT:
        raise PriorNotEstimable(
            "No base rate explains the unlabelled scores: they are "
            f"{misfit:.1f} standard errors from every mixture of the two classes as calibration "
            f"knows them ({_LARGEST_MISFIT:g} at most). More than the base rate has changed: "
            "label some rows and recalibrate on them."
        )

"""Curves of a score, thinned to what a plot can show."""

from typing import Annotated, Any

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer

from balancing.metrics.calibration_quality import check_probabilities
from balancing.metrics.cells import FloatArray, IntArray, count_cells
from balancing.metrics.proportions import wilson_ends

MAX_POINTS = 400
# Scores are shown over their log-odds: with one positive in 600 rows everything of interest
# happens between 0.0001 and 0.1. 0.000001 to 0.999999 covers what a float32 network can say.
LOWEST_LOG_ODDS, HIGHEST_LOG_ODDS = -13.8, 13.8


def _to_array(value: Any) -> Any:
    return value if isinstance(value, np.ndarray) else np.array(value, dtype=np.float64)


Points = Annotated[
    FloatArray,
    BeforeValidator(_to_array),
    PlainSerializer(lambda points: points.tolist(), when_used="json"),
]


class _Curve(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class PrecisionRecallCurve(_Curve):
    """Precision and recall from the highest threshold down, ``(n_points,)`` each."""

    threshold: Points
    precision: Points
    recall: Points


class RocCurve(_Curve):
    """Recall against false-positive rate from the highest threshold down, ``(n_points,)`` each."""

    threshold: Points
    false_positive_rate: Points
    recall: Points


class ReliabilityCurve(_Curve):
    """Predicted against observed rate in bins of even width over the log-odds, empty ones left out.

    Attributes:
        predicted: Mean probability per bin.
        observed: Share of positives per bin.
        low: Lower end of the observed share's 95 % Wilson interval.
        high: Upper end.
        n_rows: Rows per bin.
    """

    predicted: Points
    observed: Points
    low: Points
    high: Points
    n_rows: Points


class ScoreHistogram(_Curve):
    """Rows per class in bins of even width over the log-odds.

    Attributes:
        edges: Log-odds at the bins' ends, ``(n_bins + 1,)``; rows beyond are in the outer bins.
        negatives: ``(n_bins,)``.
        positives: ``(n_bins,)``.
    """

    edges: Points
    negatives: Points
    positives: Points


def precision_recall_curve(label: ArrayLike, score: ArrayLike) -> PrecisionRecallCurve:
    """Return the curve at the distinct scores, thinned evenly in recall and precision."""
    cells = count_cells(label, score)
    recall = cells.true_positives / cells.n_positives
    precision = cells.true_positives / (cells.true_positives + cells.false_positives)
    kept = _thin(recall, precision)
    return PrecisionRecallCurve(
        threshold=_distinct(score)[kept], precision=precision[kept], recall=recall[kept]
    )


def roc_curve(label: ArrayLike, score: ArrayLike) -> RocCurve:
    """Return the curve at the distinct scores, thinned evenly in recall and log of the rate."""
    cells = count_cells(label, score, both_classes=True)
    recall = cells.true_positives / cells.n_positives
    rate = cells.false_positives / cells.n_negatives
    kept = _thin(recall, np.log10(rate + 0.1 / float(cells.n_negatives[0])))
    return RocCurve(
        threshold=_distinct(score)[kept], false_positive_rate=rate[kept], recall=recall[kept]
    )


def reliability_curve(
    label: ArrayLike, probability: ArrayLike, *, n_bins: int = 15
) -> ReliabilityCurve:
    """Return predicted and observed rates per bin with Wilson intervals."""
    labels, probabilities = check_probabilities(label, probability)
    edges = np.linspace(LOWEST_LOG_ODDS, HIGHEST_LOG_ODDS, 2 * n_bins + 1)
    place = _bin_log_odds(probabilities, edges)
    n_rows = np.bincount(place, minlength=2 * n_bins).astype(np.float64)
    filled = n_rows > 0
    n_rows = n_rows[filled]
    observed = np.bincount(place, weights=labels, minlength=2 * n_bins)[filled] / n_rows
    predicted = np.bincount(place, weights=probabilities, minlength=2 * n_bins)[filled] / n_rows
    low, high = wilson_ends(observed, n_rows)
    return ReliabilityCurve(
        predicted=predicted, observed=observed, low=low, high=high, n_rows=n_rows
    )


def score_histogram(
    label: ArrayLike, probability: ArrayLike, *, n_bins: int = 60
) -> ScoreHistogram:
    """Return the rows of each class per bin of log-odds."""
    labels, probabilities = check_probabilities(label, probability)
    edges = np.linspace(LOWEST_LOG_ODDS, HIGHEST_LOG_ODDS, n_bins + 1)
    place = _bin_log_odds(probabilities, edges)
    positives = np.bincount(place, weights=labels, minlength=n_bins).astype(np.float64)
    rows = np.bincount(place, minlength=n_bins).astype(np.float64)
    return ScoreHistogram(edges=edges, negatives=rows - positives, positives=positives)


def log_odds_of(probability: FloatArray) -> FloatArray:
    """Return log(p / (1 - p)), held within the range that curves show."""
    with np.errstate(divide="ignore"):
        odds: FloatArray = np.log(probability) - np.log1p(-probability)
    return np.clip(odds, LOWEST_LOG_ODDS, HIGHEST_LOG_ODDS)


def _bin_log_odds(probability: FloatArray, edges: FloatArray) -> IntArray:
    return np.searchsorted(edges[1:-1], log_odds_of(probability), side="right").astype(np.int64)


def _distinct(score: ArrayLike) -> FloatArray:
    return np.unique(np.asarray(score, dtype=np.float64))[::-1]


def _thin(first: FloatArray, second: FloatArray) -> IntArray:
    """Return the places of points spread evenly along the drawn line, ends included."""
    if len(first) <= MAX_POINTS:
        return np.arange(len(first))
    steps = _steps(first) + _steps(second)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    wanted = np.linspace(0.0, along[-1], MAX_POINTS)
    places = np.searchsorted(along, wanted).clip(max=len(along) - 1)
    return np.unique(np.append(places, len(along) - 1)).astype(np.int64)


def _steps(values: FloatArray) -> FloatArray:
    span = float(np.ptp(values)) or 1.0
    steps: FloatArray = np.abs(np.diff(values)) / span
    return steps

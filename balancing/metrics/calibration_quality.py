"""Whether a score means what it says: Brier score, log-loss, expected calibration error.

On rare positives a constant score of 0 has a tiny calibration error, so each of these is to be
read beside the figure of the constant prevalence (``reference_brier_score``,
``reference_log_loss``) and never alone.
"""

from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from balancing.metrics.cells import FloatArray, IntArray, check_labels, check_scores

Binning: TypeAlias = Literal["equal_width", "equal_mass"]

# scikit-learn's clip: probabilities of exactly 0 and 1 cost a large, finite amount.
_SMALLEST_PROBABILITY = float(np.finfo(np.float64).eps)


def brier_score(label: ArrayLike, probability: ArrayLike) -> float:
    """Return the mean squared difference between probability and label.

    Raises:
        ValueError: If there is no positive or a probability is outside [0, 1].

    Example:
        >>> brier_score([0, 1], [0.25, 0.5])
        0.15625
    """
    labels, probabilities = check_probabilities(label, probability)
    return float(squared_errors(labels, probabilities).mean())


def log_loss(label: ArrayLike, probability: ArrayLike) -> float:
    """Return the mean negative log-likelihood in nats.

    Raises:
        ValueError: If there is no positive or a probability is outside [0, 1].
    """
    labels, probabilities = check_probabilities(label, probability)
    return float(log_losses(labels, probabilities).mean())


def expected_calibration_error(
    label: ArrayLike,
    probability: ArrayLike,
    *,
    n_bins: int = 15,
    binning: Binning = "equal_mass",
) -> float:
    """Return the mean distance between predicted and observed rate over bins, weighted by rows.

    Args:
        label: 0 or 1 per row.
        probability: In [0, 1].
        n_bins: Number of bins, at least 1.
        binning: ``equal_mass`` cuts at quantiles of the probability (rows with one probability
            stay together, so there may be fewer bins); ``equal_width`` cuts [0, 1] evenly, which
            on rare positives puts almost every row into the first bin.

    Raises:
        ValueError: If there is no positive, a probability outside [0, 1], or no bin.
    """
    labels, probabilities = check_probabilities(label, probability)
    bins = assign_bins(probabilities, n_bins=n_bins, binning=binning)
    residual = np.bincount(bins, weights=probabilities - labels)
    return float(np.abs(residual).sum() / len(labels))


def reference_brier_score(prevalence: ArrayLike) -> FloatArray:
    """Return the Brier score of predicting the prevalence for every row."""
    rate = np.asarray(prevalence, dtype=np.float64)
    return rate * (1 - rate)


def reference_log_loss(prevalence: ArrayLike) -> FloatArray:
    """Return the log-loss in nats of predicting the prevalence for every row."""
    rate = np.asarray(prevalence, dtype=np.float64)
    return -(rate * _safe_log(rate) + (1 - rate) * _safe_log(1 - rate))


def squared_errors(label: IntArray, probability: FloatArray) -> FloatArray:
    """Return each row's squared error, ``(n_rows,)``."""
    errors: FloatArray = (probability - label) ** 2
    return errors


def log_losses(label: IntArray, probability: FloatArray) -> FloatArray:
    """Return each row's negative log-likelihood in nats, ``(n_rows,)``."""
    return -_safe_log(np.where(label == 1, probability, 1 - probability))


def assign_bins(
    probability: FloatArray, *, n_bins: int = 15, binning: Binning = "equal_mass"
) -> IntArray:
    """Return the bin of each row, ``(n_rows,)`` int64 from 0.

    Raises:
        ValueError: If ``n_bins`` is below 1 or ``binning`` unknown.
    """
    if n_bins < 1:
        raise ValueError(f"n_bins must be at least 1. Got n_bins={n_bins}.")
    if binning == "equal_width":
        inner = np.linspace(0.0, 1.0, n_bins + 1)[1:-1]
    elif binning == "equal_mass":
        inner = np.unique(np.quantile(probability, np.linspace(0, 1, n_bins + 1)[1:-1]))
    else:
        raise ValueError(f"binning must be equal_width or equal_mass. Got {binning!r}.")
    return np.searchsorted(inner, probability, side="right").astype(np.int64)


def check_probabilities(label: ArrayLike, probability: ArrayLike) -> tuple[IntArray, FloatArray]:
    """Return labels and probabilities as arrays after checking them.

    Raises:
        ValueError: If there is no positive or a probability is outside [0, 1].
    """
    labels = check_labels(label)
    probabilities = check_scores(probability, len(labels), name="probability")
    if probabilities.min() < 0 or probabilities.max() > 1:
        raise ValueError(
            f"probability must be in [0, 1]. Got {probabilities.min():g} to "
            f"{probabilities.max():g}: pass calibrated probabilities, not logits."
        )
    return labels, probabilities


def _safe_log(probability: FloatArray) -> FloatArray:
    logarithm: FloatArray = np.log(np.clip(probability, _SMALLEST_PROBABILITY, 1.0))
    return logarithm

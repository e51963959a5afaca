"""Class-dependent temperatures for a trained scorer.

Follows Ye et al., "Identifying and Compensating for Feature Deviation in Imbalanced Deep
Learning" (arXiv 2001.01385). NOTE[DIFF]: the paper divides logits by the temperatures in
training and drops them at test; here a trained network's centred logits are multiplied by them,
so recalibrating needs no training. With two classes this moves the threshold and never the
ranking; with more classes it re-ranks.
"""

import numpy as np
from numpy.typing import ArrayLike

from balancing.metrics.cells import FloatArray


def class_dependent_temperatures(class_counts: ArrayLike, gamma: float) -> FloatArray:
    """Return one temperature per class; the largest class gets exactly 1.

    Args:
        class_counts: Training rows per class, all positive. Order: negative, positive.
        gamma: Strength, at least 0. ``0`` leaves every logit unchanged.

    Shape:
        ``(n_classes,)`` -> ``(n_classes,)``, float64, dimensionless.

    Raises:
        ValueError: If a class is empty or gamma is negative.

    Example:
        >>> class_dependent_temperatures(np.array([900, 100]), gamma=0.5)
        array([1., 3.])
    """
    counts = np.asarray(class_counts, dtype=np.float64)
    if counts.ndim != 1 or len(counts) < 2 or not (counts > 0).all():
        raise ValueError(
            f"class_counts must hold at least two classes, all positive. Got {counts.tolist()}."
        )
    if not (np.isfinite(gamma) and gamma >= 0):
        raise ValueError(f"gamma must be at least 0. Got gamma={gamma:g}.")
    temperatures: FloatArray = (counts.max() / counts) ** gamma
    return temperatures


def apply_temperatures(
    logits: ArrayLike, temperatures: ArrayLike, mean_logits: ArrayLike
) -> FloatArray:
    """Return logits stretched around the training mean by each class's temperature.

    z_c becomes z_c + (a_c - 1)(z_c - mu_c). A class whose temperature is 1 keeps its logits to
    the last bit, the sign of a zero included.

    Args:
        logits: As the network gives them.
        temperatures: From ``class_dependent_temperatures``.
        mean_logits: Mean training logit of each class.

    Shape:
        ``(n_rows, n_classes)``, ``(n_classes,)``, ``(n_classes,)`` -> ``(n_rows, n_classes)``,
        float64.

    Raises:
        ValueError: If the shapes do not fit.
    """
    scaled = check_logits(logits).copy()
    factors = np.asarray(temperatures, dtype=np.float64)
    centres = np.asarray(mean_logits, dtype=np.float64)
    if not factors.shape == centres.shape == scaled.shape[1:]:
        raise ValueError(
            "logits, temperatures and mean_logits must agree on the classes. Got "
            f"{scaled.shape[1:]}, {factors.shape}, {centres.shape}."
        )
    for each, (factor, centre) in enumerate(zip(factors.tolist(), centres.tolist(), strict=True)):
        if factor != 1:
            scaled[:, each] += (factor - 1) * (scaled[:, each] - centre)
    return scaled


def even_log_odds(factors: ArrayLike, centres: ArrayLike) -> float:
    """Return the log-odds at which two logits stretched around their centres are equal.

    Holds for antisymmetric logits (-d/2, +d/2). From (d/2)(a_1 + a_0) = (a_1 - 1) mu_1 -
    (a_0 - 1) mu_0; where only the positive class is stretched and the centres are (-m/2, m/2)
    this is the rule d* = m (1 - 2 / (1 + a_1)).

    Shape:
        ``(2,)`` each.

    Raises:
        ValueError: If there are not two classes.

    Example:
        >>> even_log_odds([1, 3], [4, -4])
        -4.0
    """
    stretch, centre = np.asarray(factors, np.float64), np.asarray(centres, np.float64)
    if stretch.shape != (2,) or centre.shape != (2,):
        raise ValueError(f"A threshold needs two classes. Got {stretch.shape}, {centre.shape}.")
    pull = (stretch - 1) * centre
    return float(2 * (pull[1] - pull[0]) / stretch.sum())


def log_odds(logits: ArrayLike) -> FloatArray:
    """Return the positive's logit minus the negative's, ``(n_rows, 2)`` -> ``(n_rows,)`` float64.

    Raises:
        ValueError: If there are not two classes.
    """
    two = check_logits(logits)
    if two.shape[1] != 2:
        raise ValueError(f"A decision needs logits of two classes. Got {two.shape[1]}.")
    difference: FloatArray = two[:, 1] - two[:, 0]
    return difference


def check_logits(logits: ArrayLike) -> FloatArray:
    """Return logits as float64 ``(n_rows, n_classes)`` after checking them.

    Raises:
        ValueError: If the shape is another one or a logit is NaN.
    """
    values = np.asarray(logits, dtype=np.float64)
    if values.ndim != 2:
        raise ValueError(f"logits must have shape (n_rows, n_classes). Got {values.shape}.")
    if np.count_nonzero(np.isnan(values)):
        rows = int(np.isnan(values).any(axis=1).sum())
        raise ValueError(f"logits must not hold NaN. Got NaN in {rows} of {len(values)} rows.")
    return values

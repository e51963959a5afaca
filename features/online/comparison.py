"""Online and offline values of features over time, held against each other."""

import numpy as np
from numpy.typing import NDArray

TOLERANCE = 1e-12
"""Relative. Counts and sums are equal whole numbers; what is divided may differ in the last bit."""


def relative_difference(
    found: NDArray[np.float64], wanted: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the relative difference of each pair; 0 where both are null, 1 where one is.

    Shape:
        ``(...)`` and ``(...)`` -> ``(...)``, NaN where null
    """
    is_null = np.isnan(found), np.isnan(wanted)
    scale = np.maximum(np.maximum(np.abs(found), np.abs(wanted)), np.finfo(np.float64).tiny)
    difference = np.abs(found - wanted) / scale
    return np.where(
        is_null[0] & is_null[1], 0.0, np.where(is_null[0] ^ is_null[1], 1.0, difference)
    )

"""Probabilities under another base rate (Elkan 2001, "The Foundations of Cost-Sensitive Learning").

Needed wherever the rows learnt from hold another share of positives than the rows scored:
under-sampling, class weights, a calibration period with another fraud rate. The correction is
monotone, so rankings stay.
"""

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel, ConfigDict, Field

from balancing.metrics.cells import FloatArray


class PriorShift(BaseModel):
    """The base rate that probabilities were made for, and the one they are to be read at."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trained_prevalence: float = Field(gt=0, lt=1)
    deployed_prevalence: float = Field(gt=0, lt=1)

    def apply(self, probability: FloatArray) -> FloatArray:
        """Return probabilities at the deployed base rate, ``(n_rows,)`` -> ``(n_rows,)``."""
        return correct_prior(
            probability,
            trained_prevalence=self.trained_prevalence,
            deployed_prevalence=self.deployed_prevalence,
        )


def correct_prior(
    probability: ArrayLike, *, trained_prevalence: float, deployed_prevalence: float
) -> FloatArray:
    """Return probabilities re-expressed for another prevalence.

    With b trained and b' deployed: p' = b' (p - p b) / (b - p b + b' p - b b'), which multiplies
    the odds by [b'/(1-b')] / [b/(1-b)].

    Args:
        probability: In [0, 1].
        trained_prevalence: Share of positives behind ``probability``, in (0, 1).
        deployed_prevalence: Share of positives where it is used, in (0, 1).

    Shape:
        ``(n_rows,)`` -> ``(n_rows,)``, float64.

    Raises:
        ValueError: If a prevalence is outside (0, 1).

    Example:
        >>> correct_prior([0.5], trained_prevalence=0.5, deployed_prevalence=0.01)
        array([0.01])
    """
    ratio = _odds("deployed_prevalence", deployed_prevalence) / _odds(
        "trained_prevalence", trained_prevalence
    )
    return _multiply_odds(probability, ratio)


def undo_undersampling(probability: ArrayLike, *, kept_share: float) -> FloatArray:
    """Return probabilities of a model that saw only a share of the negatives, for all of them.

    p = beta p_s / (beta p_s - p_s + 1) with beta the share of negatives kept.

    Raises:
        ValueError: If ``kept_share`` is outside (0, 1].
    """
    if not 0 < kept_share <= 1:
        raise ValueError(f"kept_share must be in (0, 1]. Got kept_share={kept_share:g}.")
    return _multiply_odds(probability, kept_share)


def _multiply_odds(probability: ArrayLike, ratio: float) -> FloatArray:
    p = np.asarray(probability, dtype=np.float64)
    corrected: FloatArray = ratio * p / (ratio * p + (1 - p))
    return corrected


def _odds(name: str, prevalence: float) -> float:
    if not 0 < prevalence < 1:
        raise ValueError(f"{name} must be in (0, 1). Got {name}={prevalence:g}.")
    return prevalence / (1 - prevalence)

"""What a user's model puts out: found by its values where that is certain, stated otherwise."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flows.registration.config import Output
from flows.registration.user_model import ModelRefused

LEAST_PROBABILITY = 1e-7
"""Probabilities are kept this far from 0 and 1, where log odds would be infinite."""

_SUM_TOLERANCE = 1e-4

Float64Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scores:
    """How to read an output.

    Attributes:
        output: What it is.
        n_columns: 2, or 1 for one number a row.
    """

    output: Output
    n_columns: int

    def log_odds(self, values: Float64Array) -> Float64Array:
        """Return the log odds of a positive.

        Shape:
            ``(n, 2)``, ``(n, 1)`` or ``(n,)`` -> ``(n,)``.
        """
        if self.n_columns == 1:
            single = values.reshape(-1)
            if self.output == "log_odds":
                return single
            bounded = np.clip(single, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
            found: Float64Array = np.log(bounded) - np.log(1 - bounded)
            return found
        if self.output == "probability":
            values = np.log(np.maximum(values, LEAST_PROBABILITY))
        difference: Float64Array = values[:, 1] - values[:, 0]
        return difference


def read_scores(values: Float64Array, stated: Output | None) -> Scores:
    """Return how to read an output, from its values on rows.

    Two columns are probabilities if every row lies in [0, 1] and adds up to 1, and logits
    otherwise. One column is log odds if it leaves [0, 1]; within, its owner must say.

    Args:
        values: On many rows, float64, finite.
        stated: What its owner says it is.

    Shape:
        ``(n, 2)``, ``(n, 1)`` or ``(n,)``.

    Raises:
        ModelRefused: If the shape is another one, or what was stated cannot be, or it must be
            stated and was not.
    """
    if values.ndim not in {1, 2} or (values.ndim == 2 and values.shape[1] not in {1, 2}):
        raise ModelRefused(
            f"The model must put out (n, 2), (n, 1) or (n,). Got {values.shape} for "
            f"{len(values)} rows."
        )
    is_bounded = bool(((values >= 0) & (values <= 1)).all())
    if values.ndim == 2 and values.shape[1] == 2:
        adds_up = bool((np.abs(values.sum(axis=1) - 1) <= _SUM_TOLERANCE).all())
        found: Output = "probability" if is_bounded and adds_up else "logits"
        if stated not in {None, found}:
            raise _contradicted(stated, f"two columns that are {_WORDS[found]}")
        return Scores(found, 2)
    if stated is None:
        if is_bounded:
            raise ModelRefused(
                "One number a row within [0, 1] may be a probability or log odds. Say which: "
                "--output probability, or --output log_odds."
            )
        return Scores("log_odds", 1)
    if stated == "logits":
        raise _contradicted(stated, "one column; logits have two, a single number is log_odds")
    if stated == "probability" and not is_bounded:
        raise _contradicted(stated, f"values from {values.min():.4g} to {values.max():.4g}")
    return Scores(stated, 1)


_WORDS = {"probability": "probabilities: each row adds up to 1", "logits": "no probabilities"}


def _contradicted(stated: Output | None, found: str) -> ModelRefused:
    return ModelRefused(f"--output {stated} does not fit what the model puts out: {found}.")

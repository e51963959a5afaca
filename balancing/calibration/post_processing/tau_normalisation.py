"""Tau-normalisation of a linear head (Kang et al., arXiv 1910.09217)."""

from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field, model_validator

from balancing.calibration.post_processing.settings import PostProcessingSettings, check_classes
from balancing.calibration.temperatures import apply_temperatures, even_log_odds
from balancing.metrics.cells import FloatArray


class TauNormalisation(PostProcessingSettings):
    """w_c f / ||w_c||^tau + b_c, from the logits alone: (z_c - b_c) / ||w_c||^tau + b_c.

    NOTE[DIFF]: the authors' code leaves the bias out, so that their tau = 0 is not the trained
    network; here the bias stays, undivided, and tau = 0 is the identity to the last bit.

    A network with two antisymmetric logits has one weight vector and so one norm: both logits are
    divided by the same number, and rankings stay. Of several members' mean probability no head
    can be read off, so this is for networks of a single head (see ``balancing.networks.head``).

    Attributes:
        tau: Strength; 0 leaves logits as they are.
        weight_norms: Euclidean norm of the head's weights per class.
        bias: The head's bias per class.
    """

    kind: Literal["tau_normalisation"] = "tau_normalisation"
    tau: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    weight_norms: tuple[float, ...]
    bias: tuple[float, ...]

    @model_validator(mode="after")
    def _check(self) -> "TauNormalisation":
        check_classes(weight_norms=self.weight_norms, bias=self.bias)
        if not min(self.weight_norms) > 0:
            raise ValueError(f"weight_norms must all be positive. Got {self.weight_norms}.")
        return self

    @cached_property
    def _factors(self) -> FloatArray:
        factors: FloatArray = np.array(self.weight_norms, dtype=np.float64) ** -self.tau
        return factors

    def apply(self, logits: ArrayLike, segment: ArrayLike | None = None) -> FloatArray:
        """Return the normalised logits, ``(n_rows, n_classes)`` -> the same."""
        del segment
        return apply_temperatures(logits, self._factors, self.bias)

    @property
    def threshold(self) -> float:
        """The log-odds from which the normalised positive logit exceeds the negative one.

        Raises:
            ValueError: If there are not two classes.
        """
        return even_log_odds(self._factors, self.bias)

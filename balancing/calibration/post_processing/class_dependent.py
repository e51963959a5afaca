"""Class-dependent temperatures as part of a policy, for all rows alike."""

from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field, model_validator

from balancing.calibration.post_processing.settings import PostProcessingSettings, check_classes
from balancing.calibration.temperatures import (
    apply_temperatures,
    class_dependent_temperatures,
    even_log_odds,
)
from balancing.metrics.cells import FloatArray


class ClassDependentTemperatures(PostProcessingSettings):
    """z_c + (a_c - 1)(z_c - mu_c) with a_c = (N_max / N_c)^gamma.

    Two classes: a rule for where the threshold lies (:meth:`threshold`), never another ranking.
    More classes: other rankings.

    Attributes:
        gamma: Strength; 0 leaves logits as they are.
        class_counts: Training rows per class; of two, negative then positive.
        mean_logits: Mean training logit per class.
    """

    kind: Literal["class_dependent"] = "class_dependent"
    gamma: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    class_counts: tuple[int, ...]
    mean_logits: tuple[float, ...]

    @model_validator(mode="after")
    def _check(self) -> "ClassDependentTemperatures":
        check_classes(class_counts=self.class_counts, mean_logits=self.mean_logits)
        class_dependent_temperatures(self.class_counts, self.gamma)
        return self

    @cached_property
    def temperatures(self) -> FloatArray:
        """One temperature per class, ``(n_classes,)``."""
        return class_dependent_temperatures(self.class_counts, self.gamma)

    def apply(self, logits: ArrayLike, segment: ArrayLike | None = None) -> FloatArray:
        """Return the tempered logits, ``(n_rows, n_classes)`` -> the same; segments do nothing."""
        del segment
        return apply_temperatures(logits, self.temperatures, self._centres)

    @cached_property
    def _centres(self) -> FloatArray:
        return np.array(self.mean_logits, dtype=np.float64)

    @property
    def threshold(self) -> float:
        """The log-odds from which the tempered positive logit exceeds the negative one.

        Where negatives are the majority and logits antisymmetric: d* = m (1 - 2 / (1 + a_pos)),
        m the mean training log-odds. gamma = 0 cuts at even odds; a growing gamma moves the cut
        towards the mean row.

        Raises:
            ValueError: If there are not two classes.
        """
        return even_log_odds(self.temperatures, self.mean_logits)

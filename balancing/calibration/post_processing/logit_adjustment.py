"""Logit adjustment after training (Menon et al., arXiv 2007.07314)."""

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field, model_validator

from balancing.calibration.post_processing.settings import PostProcessingSettings, check_classes
from balancing.calibration.temperatures import check_logits
from balancing.metrics.cells import FloatArray


class LogitAdjustment(PostProcessingSettings):
    """z_c - tau log pi_c with pi_c the training share of class c.

    With tau = 1 the highest adjusted logit minimises the balanced error. Two classes: all
    log-odds move by the same amount, so rankings stay.

    Attributes:
        tau: Strength; 0 leaves logits as they are.
        class_counts: Training rows per class; of two, negative then positive.
    """

    kind: Literal["logit_adjustment"] = "logit_adjustment"
    tau: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    class_counts: tuple[int, ...]

    @model_validator(mode="after")
    def _check(self) -> "LogitAdjustment":
        check_classes(class_counts=self.class_counts)
        if min(self.class_counts) < 1:
            raise ValueError(f"class_counts must all be positive. Got {self.class_counts}.")
        return self

    def apply(self, logits: ArrayLike, segment: ArrayLike | None = None) -> FloatArray:
        """Return the adjusted logits, ``(n_rows, n_classes)`` -> the same; segments do nothing."""
        del segment
        values = check_logits(logits)
        if self.tau == 0:
            return values.copy()  # subtracting 0 would lose the sign of a zero
        counts = np.array(self.class_counts, dtype=np.float64)
        adjusted: FloatArray = values - self.tau * np.log(counts / counts.sum())
        return adjusted

    @property
    def threshold(self) -> float:
        """The log-odds from which the adjusted positive logit exceeds the negative one.

        That is tau log(pi_pos / pi_neg): tau = 1 cuts at the training prevalence.

        Raises:
            ValueError: If there are not two classes.
        """
        if len(self.class_counts) != 2:
            raise ValueError(f"A threshold needs two classes. Got {len(self.class_counts)}.")
        negatives, positives = self.class_counts
        return self.tau * math.log(positives / negatives)

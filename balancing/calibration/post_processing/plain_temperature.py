"""One temperature for all classes and rows (Guo et al., arXiv 1706.04599)."""

from typing import Literal

from numpy.typing import ArrayLike
from pydantic import Field

from balancing.calibration.post_processing.settings import PostProcessingSettings
from balancing.calibration.temperatures import check_logits
from balancing.metrics.cells import FloatArray


class PlainTemperature(PostProcessingSettings):
    """z_c / T: probabilities become flatter or steeper, nothing else changes.

    Attributes:
        temperature: T; 1 leaves logits as they are.
    """

    kind: Literal["temperature"] = "temperature"
    temperature: float = Field(default=1.0, gt=0, allow_inf_nan=False)

    def apply(self, logits: ArrayLike, segment: ArrayLike | None = None) -> FloatArray:
        """Return the divided logits, ``(n_rows, n_classes)`` -> the same; segments do nothing."""
        del segment
        divided: FloatArray = check_logits(logits) / self.temperature
        return divided

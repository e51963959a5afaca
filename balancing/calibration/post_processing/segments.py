"""Class-dependent temperatures with class counts per segment, which re-rank across segments."""

from collections.abc import Mapping
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field, model_validator

from balancing.calibration.post_processing.settings import PostProcessingSettings, check_classes
from balancing.calibration.segments import segment_codes
from balancing.calibration.temperatures import check_logits, class_dependent_temperatures
from balancing.metrics.cells import FloatArray


class SegmentTemperatures(PostProcessingSettings):
    """z_c + (a_cs - 1)(z_c - mu_c), the temperatures a_cs made of the counts of segment s.

    A segment's counts are mixed with ``prior_strength`` rows of the smallest class at the overall
    composition, so that a small segment is treated nearly like all rows and an empty class never
    divides by zero: N_cs becomes N_cs + prior_strength N_c / N_min. A missing or unseen segment
    has the overall temperatures.

    Attributes:
        gamma: Strength; 0 leaves logits as they are.
        class_counts: Training rows per class; of two, negative then positive.
        mean_logits: Mean training logit per class.
        segment_counts: Training rows per class of each segment.
        prior_strength: How many rows of the smallest class stand for the overall composition.
    """

    kind: Literal["segment_class_dependent"] = "segment_class_dependent"
    gamma: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    class_counts: tuple[int, ...]
    mean_logits: tuple[float, ...]
    segment_counts: Mapping[str, tuple[int, ...]] = Field(min_length=1)
    prior_strength: float = Field(default=10.0, gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _check(self) -> "SegmentTemperatures":
        check_classes(class_counts=self.class_counts, mean_logits=self.mean_logits)
        class_dependent_temperatures(self.class_counts, self.gamma)
        for name, counts in self.segment_counts.items():
            check_classes(class_counts=self.class_counts, **{name: counts})
            if min(counts) < 0:
                raise ValueError(f"Counts of segment {name} must not be negative. Got {counts}.")
        return self

    @property
    def is_segmented(self) -> bool:
        """Whether rows of different segments are treated differently."""
        return True

    @cached_property
    def temperatures(self) -> FloatArray:
        """Temperatures per segment, the overall ones last, ``(n_segments + 1, n_classes)``."""
        overall = np.array(self.class_counts, dtype=np.float64)
        prior = self.prior_strength * overall / overall.min()
        counts = [np.array(counts) + prior for counts in self.segment_counts.values()]
        return np.array(
            [class_dependent_temperatures(each, self.gamma) for each in (*counts, overall)]
        )

    def apply(self, logits: ArrayLike, segment: ArrayLike | None = None) -> FloatArray:
        """Return the tempered logits, each row by its segment.

        Shape:
            ``(n_rows, n_classes)`` and ``(n_rows,)`` -> ``(n_rows, n_classes)``.

        Raises:
            ValueError: If there is no segment per row, or the classes are others.
        """
        scaled = check_logits(logits).copy()
        if segment is None:
            raise ValueError("This post-processing needs each row's segment. Got none.")
        codes = segment_codes(segment, self.segment_counts)
        if len(codes) != len(scaled) or scaled.shape[1] != len(self.class_counts):
            raise ValueError(
                f"logits and segments must pair up, with {len(self.class_counts)} classes. Got "
                f"logits {scaled.shape} and {len(codes)} segments."
            )
        # Row by row: -1, the code of an unseen segment, picks the overall temperatures.
        stretch = self.temperatures[codes] - 1
        moves = stretch != 0
        moved = scaled + stretch * (scaled - np.array(self.mean_logits))
        np.copyto(scaled, moved, where=moves)
        return scaled

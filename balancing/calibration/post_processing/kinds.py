"""The kinds of post-processing that a policy may hold, behind one interface.

Each has ``apply(logits, segment=None)``: logits ``(n_rows, n_classes)`` in, the same shape out,
float64, row by row; a strength of 0 (a temperature of 1) returns the logits to the last bit.
"""

from typing import Annotated, TypeAlias

from pydantic import Field

from balancing.calibration.post_processing.class_dependent import ClassDependentTemperatures
from balancing.calibration.post_processing.logit_adjustment import LogitAdjustment
from balancing.calibration.post_processing.plain_temperature import PlainTemperature
from balancing.calibration.post_processing.segments import SegmentTemperatures
from balancing.calibration.post_processing.tau_normalisation import TauNormalisation

PostProcessing: TypeAlias = Annotated[
    ClassDependentTemperatures
    | SegmentTemperatures
    | LogitAdjustment
    | PlainTemperature
    | TauNormalisation,
    Field(discriminator="kind"),
]

"""Which declined rows are let through, so that their labels become known.

A declined row has no label: nobody learns what it would have been, and a model trained on the
others alone never hears that it was wrong. The setting stands on the lowest floor because both
sides name it: a contract as a starting value, a policy as what the service goes by.
"""

from pydantic import BaseModel, ConfigDict, Field


class Exploration(BaseModel):
    """How many of the rows that a policy declines are approved all the same.

    Attributes:
        rate: Share of them, drawn at random, in (0, 0.5]. It is also each row's probability to be
            drawn, so that figures on drawn rows weigh each by ``1 / rate``.
        max_amount: Rows above it are never let through, nor rows without an amount; in the unit of
            requests. ``None``: amounts do not matter.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rate: float = Field(gt=0, le=0.5)
    max_amount: float | None = Field(default=None, gt=0, allow_inf_nan=False)

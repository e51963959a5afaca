"""What a decision threshold is chosen for: settings that contracts and policies share.

They stand on the lowest floor because both sides name them: a contract as starting values, a
policy as the record of what its thresholds were tuned to.
"""

from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field


class _Objective(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CostObjective(_Objective):
    """Least total cost: a missed positive costs its amount times ``loss_rate``.

    Attributes:
        review_cost: Cost of working one alert, in major currency units.
        loss_rate: Share of a missed positive's amount that is lost, in [0, 1].
        friction_cost: Cost of stopping one negative, in major currency units.
    """

    objective: Literal["cost"] = "cost"
    review_cost: float = Field(ge=0, allow_inf_nan=False)
    loss_rate: float = Field(default=1.0, ge=0, le=1)
    friction_cost: float = Field(default=0.0, ge=0, allow_inf_nan=False)


class MaxFprObjective(_Objective):
    """As many alerts as possible with at most this share of the negatives among them."""

    objective: Literal["max_fpr"] = "max_fpr"
    max_fpr: float = Field(gt=0, le=1)


class MinPrecisionObjective(_Objective):
    """As many alerts as possible with at least this share of positives among them."""

    objective: Literal["min_precision"] = "min_precision"
    min_precision: float = Field(gt=0, le=1)


class MinRecallObjective(_Objective):
    """As few alerts as possible with at least this share of the positives among them."""

    objective: Literal["min_recall"] = "min_recall"
    min_recall: float = Field(gt=0, le=1)


class AlertBudgetObjective(_Objective):
    """As many alerts a day as people can work; ``rows_per_day`` where rows carry no time."""

    objective: Literal["alert_budget"] = "alert_budget"
    alerts_per_day: float = Field(gt=0, allow_inf_nan=False)
    rows_per_day: float | None = Field(default=None, gt=0, allow_inf_nan=False)


Objective: TypeAlias = Annotated[
    CostObjective
    | MaxFprObjective
    | MinPrecisionObjective
    | MinRecallObjective
    | AlertBudgetObjective,
    Field(discriminator="objective"),
]

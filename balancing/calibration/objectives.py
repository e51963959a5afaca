"""The objectives of a policy's two thresholds, and how they read in a sentence."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from infra.objectives import CostObjective, MaxFprObjective, MinPrecisionObjective, Objective


class PolicyObjectives(BaseModel):
    """The objective of each threshold; other policy settings of a contract are passed over.

    Attributes:
        review: From which score on a person looks at the row.
        decline: From which score on the row is declined, never below ``review``.
        segments: Columns that thresholds are wanted by; those under ``cost`` go by amount instead.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    review: Objective = MaxFprObjective(max_fpr=0.01)
    decline: Objective = MinPrecisionObjective(min_precision=0.9)
    segments: tuple[str, ...] = ()


def describe(objective: Any) -> str:
    """Return an objective as it reads in a sentence: ``max_fpr of 0.001``."""
    if isinstance(objective, CostObjective):
        return (
            f"least cost (review {objective.review_cost:g}, loss rate {objective.loss_rate:g}, "
            f"friction {objective.friction_cost:g})"
        )
    name = "alerts_per_day" if objective.objective == "alert_budget" else objective.objective
    return f"{name} of {getattr(objective, name):g}"

"""Logistic regression as a rival: what a line through the inputs reaches."""

import math
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from balancing.dataset import LabelledArrays
from balancing.rivals.inputs import DenseInputs
from balancing.rivals.rival import FittedRival, SearchSpace


class LogisticConfig(BaseModel):
    """Settings of logistic regression.

    Attributes:
        inverse_penalty: Of the L2 penalty on weights, as scikit-learn's ``C``.
        positive_weight: Of a positive row; the shift of the odds that it brings is taken out.
        max_iterations: Of the solver.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["logistic"] = "logistic"
    inverse_penalty: float = Field(default=1.0, gt=0)
    positive_weight: float = Field(default=1.0, gt=0)
    max_iterations: int = Field(default=2000, ge=1)


class Logistic:
    """Logistic regression on standardised numbers and one-hot categories."""

    search_space: ClassVar[SearchSpace] = {
        "inverse_penalty": (0.001, 0.01, 0.1, 1.0, 10.0),
        "positive_weight": (1.0, 5.0),
    }
    counts_rounds: ClassVar[bool] = False

    def __init__(self, config: LogisticConfig) -> None:
        self.config = config

    def fit(
        self,
        train: LabelledArrays,
        *,
        validation: LabelledArrays | None = None,  # noqa: ARG002
        n_rounds: int | None = None,  # noqa: ARG002
        seed: int = 0,  # noqa: ARG002  # nothing is drawn
        n_threads: int | None = None,  # noqa: ARG002
    ) -> FittedRival:
        """Fit weights; see ``Rival.fit``."""
        from sklearn.linear_model import LogisticRegression

        train.require_both_classes("training")
        config = self.config
        inputs = DenseInputs(train)
        model = LogisticRegression(
            C=config.inverse_penalty,
            class_weight={0: 1.0, 1: config.positive_weight},
            max_iter=config.max_iterations,
        ).fit(inputs(train), train.label)
        shift = math.log(config.positive_weight)
        return FittedRival(model, None, lambda rows: model.decision_function(inputs(rows)) - shift)

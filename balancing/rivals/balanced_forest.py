"""A balanced random forest (Chen, Liaw and Breiman, 2004), imbalanced-learn's, as a rival."""

import math
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from balancing.dataset import LabelledArrays
from balancing.extras import extra
from balancing.rivals.inputs import DenseInputs
from balancing.rivals.rival import FittedRival, Float64Array, SearchSpace
from balancing.sampling import PrevalenceSampling, epoch_sizes


class BalancedForestConfig(BaseModel):
    """Settings of a balanced random forest.

    Attributes:
        n_trees: Trees.
        prevalence: Of each tree's bootstrap sample, which has as many positives as there are.
        min_child_rows: Fewest rows a leaf.
        column_share: Columns looked at for a split; ``"sqrt"`` for the root of their number.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["balanced_forest"] = "balanced_forest"
    n_trees: int = Field(default=300, ge=1)
    prevalence: float = Field(default=0.5, gt=0, lt=1)
    min_child_rows: int = Field(default=1, ge=1)
    column_share: float | Literal["sqrt"] = "sqrt"


class BalancedForest:
    """Trees on samples with a target prevalence; validation rows take no part."""

    search_space: ClassVar[SearchSpace] = {
        "prevalence": (0.02, 0.1, 0.5),
        "min_child_rows": (1, 3, 10),
        "column_share": ("sqrt", 0.4),
    }
    counts_rounds: ClassVar[bool] = False

    def __init__(self, config: BalancedForestConfig) -> None:
        self.config = config

    def fit(
        self,
        train: LabelledArrays,
        *,
        validation: LabelledArrays | None = None,  # noqa: ARG002
        n_rounds: int | None = None,
        seed: int = 0,
        n_threads: int | None = None,
    ) -> FittedRival:
        """Fit trees, ``n_rounds`` of them where it is given; see ``Rival.fit``."""
        with extra("resampling", needed_by="A balanced random forest as a rival"):
            from imblearn.ensemble import BalancedRandomForestClassifier
        train.require_both_classes("training")
        config, n_trees = self.config, n_rounds or self.config.n_trees
        inputs = DenseInputs(train)
        sampling = PrevalenceSampling(kind="undersampled", prevalence=config.prevalence)
        negatives, positives = epoch_sizes(sampling, torch.from_numpy(train.label))
        model = BalancedRandomForestClassifier(
            n_trees,
            sampling_strategy={0: negatives, 1: positives},
            replacement=True,
            bootstrap=False,
            min_samples_leaf=config.min_child_rows,
            max_features=config.column_share,
            random_state=seed,
            n_jobs=n_threads or -1,
        ).fit(inputs(train), train.label)
        shift = math.log(train.class_counts[0] / negatives)
        return FittedRival(
            model,
            n_trees,
            lambda rows: _log_odds(model.predict_proba(inputs(rows))[:, 1], n_trees) - shift,
        )


def _log_odds(votes: NDArray[np.floating], n_trees: int) -> Float64Array:
    """Return finite log odds of shares of votes: half a vote is added on either side."""
    counted = np.asarray(votes, dtype=np.float64) * n_trees
    return np.log((counted + 0.5) / (n_trees - counted + 0.5))

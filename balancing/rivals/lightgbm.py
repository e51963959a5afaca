"""LightGBM (Ke et al., 2017): a rival of the networks, or released in their place."""

import math
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from balancing.dataset import LabelledArrays
from balancing.extras import extra
from balancing.rivals.inputs import categorical_columns, feature_matrix
from balancing.rivals.lightgbm_trees import lightgbm_trees
from balancing.rivals.rival import FittedRival, SearchSpace, check_rows


class LightGbmConfig(BaseModel):
    """Settings of LightGBM.

    Attributes:
        learning_rate: Shrinkage of a tree.
        n_leaves: Most leaves a tree.
        min_child_rows: Fewest rows a leaf.
        row_share: Rows drawn for each tree.
        column_share: Columns drawn for each tree.
        positive_weight: Of a positive row; the shift of the odds that it brings is taken out.
        max_rounds: Most trees.
        patience: Rounds without a better average precision on the validation rows.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["lightgbm"] = "lightgbm"
    learning_rate: float = Field(default=0.05, gt=0)
    n_leaves: int = Field(default=31, ge=2)
    min_child_rows: int = Field(default=50, ge=1)
    row_share: float = Field(default=1.0, gt=0, le=1)
    column_share: float = Field(default=1.0, gt=0, le=1)
    positive_weight: float = Field(default=1.0, gt=0)
    max_rounds: int = Field(default=2000, ge=1)
    patience: int = Field(default=50, ge=1)


class LightGbm:
    """Gradient boosting, leaf by leaf."""

    search_space: ClassVar[SearchSpace] = {
        "learning_rate": (0.02, 0.05, 0.1),
        "n_leaves": (7, 15, 31, 63),
        "min_child_rows": (20, 50, 200),
        "row_share": (0.7, 1.0),
        "column_share": (0.5, 0.8, 1.0),
        "positive_weight": (1.0, 5.0),
    }
    counts_rounds: ClassVar[bool] = True

    def __init__(self, config: LightGbmConfig) -> None:
        self.config = config

    def fit(
        self,
        train: LabelledArrays,
        *,
        validation: LabelledArrays | None = None,
        n_rounds: int | None = None,
        seed: int = 0,
        n_threads: int | None = None,
    ) -> FittedRival:
        """Fit trees; see ``Rival.fit``."""
        with extra("trees", needed_by="LightGBM as a rival"):
            import lightgbm
        check_rows(train, validation, n_rounds)
        config = self.config
        data = lightgbm.Dataset(
            feature_matrix(train),
            train.label,
            categorical_feature=categorical_columns(train) or "auto",
        )
        stopping = {}
        if n_rounds is None and validation is not None:
            known = lightgbm.Dataset(feature_matrix(validation), validation.label, reference=data)
            stop = lightgbm.early_stopping(config.patience, verbose=False)
            stopping = {"valid_sets": [known], "callbacks": [stop]}
        model = lightgbm.train(
            self._parameters(seed, n_threads), data, n_rounds or config.max_rounds, **stopping
        )
        kept = model.best_iteration if stopping else model.num_trees()
        shift = math.log(config.positive_weight)
        return FittedRival(
            model,
            kept,
            lambda rows: (
                model.predict(feature_matrix(rows), raw_score=True, num_iteration=kept) - shift
            ),
            lambda: lightgbm_trees(model, n_rounds=kept, shift=shift),
        )

    def _parameters(self, seed: int, n_threads: int | None) -> dict[str, object]:
        config = self.config
        return {
            "objective": "binary",
            "metric": "average_precision",
            "learning_rate": config.learning_rate,
            "num_leaves": config.n_leaves,
            "min_child_samples": config.min_child_rows,
            "bagging_fraction": config.row_share,
            "bagging_freq": 1 if config.row_share < 1 else 0,
            "feature_fraction": config.column_share,
            "scale_pos_weight": config.positive_weight,
            "seed": seed,
            "deterministic": True,
            "force_row_wise": True,
            "num_threads": n_threads or 0,
            "verbosity": -1,
        }

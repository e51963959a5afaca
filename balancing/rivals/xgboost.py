"""XGBoost (Chen and Guestrin, arXiv 1603.02754): a rival of the networks, or released for them."""

import math
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from balancing.dataset import LabelledArrays
from balancing.extras import extra
from balancing.rivals.inputs import feature_matrix
from balancing.rivals.rival import FittedRival, SearchSpace, check_rows
from balancing.rivals.xgboost_trees import xgboost_trees


class XgBoostConfig(BaseModel):
    """Settings of XGBoost.

    Attributes:
        learning_rate: Shrinkage of a tree.
        depth: Most levels a tree.
        min_child_weight: Least sum of ``p (1 - p)`` a leaf.
        row_share: Rows drawn for each tree.
        column_share: Columns drawn for each tree.
        positive_weight: Of a positive row; the shift of the odds that it brings is taken out.
        max_rounds: Most trees.
        patience: Rounds without a larger area under the validation rows' precision-recall curve,
            as XGBoost interpolates it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["xgboost"] = "xgboost"
    learning_rate: float = Field(default=0.05, gt=0)
    depth: int = Field(default=6, ge=1)
    min_child_weight: float = Field(default=5.0, ge=0)
    row_share: float = Field(default=0.8, gt=0, le=1)
    column_share: float = Field(default=0.8, gt=0, le=1)
    positive_weight: float = Field(default=1.0, gt=0)
    max_rounds: int = Field(default=2000, ge=1)
    patience: int = Field(default=50, ge=1)


class XgBoost:
    """Gradient boosting, level by level."""

    search_space: ClassVar[SearchSpace] = {
        "learning_rate": (0.02, 0.05, 0.1),
        "depth": (3, 4, 6, 8),
        "min_child_weight": (1.0, 5.0, 20.0),
        "row_share": (0.6, 0.8, 1.0),
        "column_share": (0.5, 0.8, 1.0),
        "positive_weight": (1.0, 5.0),
    }
    counts_rounds: ClassVar[bool] = True

    def __init__(self, config: XgBoostConfig) -> None:
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
        with extra("trees", needed_by="XGBoost as a rival"):
            import xgboost
        check_rows(train, validation, n_rounds)
        config = self.config
        stopping: dict[str, Any] = {}
        if n_rounds is None and validation is not None:
            stopping = {
                "evals": [(_matrix(validation, labelled=True), "validation")],
                "early_stopping_rounds": config.patience,
            }
        model = xgboost.train(
            self._parameters(seed, n_threads),
            _matrix(train, labelled=True),
            n_rounds or config.max_rounds,
            verbose_eval=False,
            **stopping,
        )
        kept = model.best_iteration + 1 if stopping else model.num_boosted_rounds()
        shift = math.log(config.positive_weight)
        return FittedRival(
            model,
            kept,
            lambda rows: (
                model.predict(_matrix(rows), output_margin=True, iteration_range=(0, kept)) - shift
            ),
            lambda: xgboost_trees(model, n_rounds=kept, shift=shift),
        )

    def _parameters(self, seed: int, n_threads: int | None) -> dict[str, object]:
        config = self.config
        return {
            "objective": "binary:logistic",
            "eval_metric": "aucpr",
            "tree_method": "hist",
            "learning_rate": config.learning_rate,
            "max_depth": config.depth,
            "min_child_weight": config.min_child_weight,
            "subsample": config.row_share,
            "colsample_bytree": config.column_share,
            "scale_pos_weight": config.positive_weight,
            "seed": seed,
            "nthread": n_threads or 0,
            "verbosity": 0,
        }


def _matrix(arrays: LabelledArrays, *, labelled: bool = False) -> Any:
    """Return the rows as XGBoost holds them."""
    import xgboost

    kinds = ["q"] * arrays.numeric.shape[1] + ["c"] * arrays.categorical.shape[1]
    return xgboost.DMatrix(
        feature_matrix(arrays),
        arrays.label if labelled else None,
        feature_types=kinds,
        enable_categorical=True,
    )

"""CatBoost (Prokhorenkova et al., arXiv 1706.09516) as a rival."""

import math
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from balancing.dataset import LabelledArrays
from balancing.extras import extra
from balancing.rivals.rival import FittedRival, SearchSpace, check_rows


class CatBoostConfig(BaseModel):
    """Settings of CatBoost.

    Attributes:
        learning_rate: Shrinkage of a tree.
        depth: Levels of a tree.
        leaf_penalty: L2 penalty on leaf values.
        row_share: Rows drawn for each tree.
        positive_weight: Of a positive row; the shift of the odds that it brings is taken out.
        max_rounds: Most trees.
        patience: Rounds without a larger area under the validation rows' precision-recall curve.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["catboost"] = "catboost"
    learning_rate: float = Field(default=0.1, gt=0)
    depth: int = Field(default=6, ge=1, le=16)
    leaf_penalty: float = Field(default=3.0, ge=0)
    row_share: float = Field(default=0.8, gt=0, le=1)
    positive_weight: float = Field(default=1.0, gt=0)
    max_rounds: int = Field(default=2000, ge=1)
    patience: int = Field(default=50, ge=1)


class CatBoost:
    """Gradient boosting of oblivious trees, categories by ordered target statistics."""

    search_space: ClassVar[SearchSpace] = {
        "learning_rate": (0.03, 0.06, 0.1),
        "depth": (4, 6, 8),
        "leaf_penalty": (1.0, 3.0, 10.0),
        "row_share": (0.6, 0.8, 1.0),
        "positive_weight": (1.0, 5.0),
    }
    counts_rounds: ClassVar[bool] = True

    def __init__(self, config: CatBoostConfig) -> None:
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
        with extra("trees", needed_by="CatBoost as a rival"):
            import catboost
        check_rows(train, validation, n_rounds)
        config = self.config
        stopping: dict[str, Any] = {}
        if n_rounds is None and validation is not None:
            stopping = {
                "eval_set": _pool(validation, labelled=True),
                "early_stopping_rounds": config.patience,
                "use_best_model": True,
            }
        model = catboost.CatBoostClassifier(
            iterations=n_rounds or config.max_rounds,
            learning_rate=config.learning_rate,
            depth=config.depth,
            l2_leaf_reg=config.leaf_penalty,
            bootstrap_type="Bernoulli",
            subsample=config.row_share,
            scale_pos_weight=config.positive_weight,
            eval_metric="PRAUC",
            random_seed=seed,
            thread_count=n_threads or -1,
            allow_writing_files=False,
            verbose=False,
        ).fit(_pool(train, labelled=True), **stopping)
        shift = math.log(config.positive_weight)
        return FittedRival(
            model,
            int(model.tree_count_),
            lambda rows: model.predict(_pool(rows), prediction_type="RawFormulaVal") - shift,
        )


def _pool(arrays: LabelledArrays, *, labelled: bool = False) -> Any:
    """Return the rows as CatBoost holds them."""
    from catboost import FeaturesData, Pool

    codes = np.array([str(code).encode() for code in range(_n_codes(arrays))], dtype=object)
    features = FeaturesData(
        num_feature_data=arrays.numeric if arrays.numeric.shape[1] else None,
        cat_feature_data=codes[arrays.categorical] if arrays.categorical.shape[1] else None,
    )
    return Pool(features, arrays.label if labelled else None)


def _n_codes(arrays: LabelledArrays) -> int:
    return int(arrays.categorical.max(initial=0)) + 1

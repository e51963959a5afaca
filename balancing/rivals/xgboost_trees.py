"""XGBoost's trees, read from the model that it saves as JSON."""

import json
import math
from typing import Any

from balancing.rivals.trees import BoostedTrees, Leaf, Split, Tree, below


def xgboost_trees(model: Any, *, n_rounds: int, shift: float) -> BoostedTrees:
    """Return the first trees of a fitted model.

    Args:
        model: An ``xgboost.Booster`` of objective ``binary:logistic``.
        n_rounds: How many of its trees count.
        shift: Of the log odds, to be taken out.
    """
    learner = json.loads(model.save_raw("json"))["learner"]
    # A number of its own up to version 3.0, a list of one for each target since.
    start = float(learner["learner_model_param"]["base_score"].strip("[]"))
    grown = learner["gradient_booster"]["model"]["trees"][:n_rounds]
    return BoostedTrees(
        tuple(_tree(each) for each in grown), base=math.log(start) - math.log1p(-start) - shift
    )


def _tree(grown: dict[str, Any]) -> Tree:
    codes = _codes(grown)
    return tuple(
        _split(grown, at, codes.get(at)) if left >= 0 else Leaf(grown["split_conditions"][at])
        for at, left in enumerate(grown["left_children"])
    )


def _codes(grown: dict[str, Any]) -> dict[int, tuple[int, ...]]:
    """Return, by node, the codes that go to the right."""
    found = {}
    for node, start, size in zip(
        grown["categories_nodes"],
        grown["categories_segments"],
        grown["categories_sizes"],
        strict=True,
    ):
        found[node] = tuple(grown["categories"][start : start + size])
    return found


def _split(grown: dict[str, Any], at: int, codes: tuple[int, ...] | None) -> Split:
    column = grown["split_indices"][at]
    left, right = grown["left_children"][at], grown["right_children"][at]
    if codes is not None:
        return Split(column, None, codes, missing_is_yes=False, yes=right, no=left)
    bound = below(grown["split_conditions"][at])
    is_yes = bool(grown["default_left"][at])
    return Split(column, bound, (), missing_is_yes=is_yes, yes=left, no=right)

"""LightGBM's trees, read from the model that it dumps."""

from typing import Any

import numpy as np

from balancing.rivals.trees import BoostedTrees, Leaf, Split, Tree, at_most, below

_ZERO = float(np.float32(1e-35))
"""LightGBM reads numbers no further from zero than this as zero."""


def lightgbm_trees(model: Any, *, n_rounds: int, shift: float) -> BoostedTrees:
    """Return the first trees of a fitted model.

    Args:
        model: A ``lightgbm.Booster`` for two classes.
        n_rounds: How many of its trees count.
        shift: Of the log odds, to be taken out.

    Raises:
        ValueError: If zeros were taken for missing, which no whitecrow configuration asks for.
    """
    dumped = model.dump_model(num_iteration=n_rounds)
    trees = tuple(_tree(each["tree_structure"]) for each in dumped["tree_info"])
    return BoostedTrees(trees, base=-shift)


def _tree(root: dict[str, Any]) -> Tree:
    # Not by recursion: leaf by leaf, a tree may be as deep as it has leaves.
    waiting = [root]
    nodes: list[Split | Leaf] = []
    for node in waiting:
        if "leaf_value" in node:
            nodes.append(Leaf(float(node["leaf_value"])))
            continue
        yes = len(waiting)
        waiting += [node["left_child"], node["right_child"]]
        nodes.append(_split(node, yes))
    return tuple(nodes)


def _split(node: dict[str, Any], yes: int) -> Split:
    column = int(node["split_feature"])
    if node["decision_type"] == "==":
        codes = tuple(int(code) for code in str(node["threshold"]).split("||"))
        return Split(column, None, codes, missing_is_yes=False, yes=yes, no=yes + 1)
    bound = _bound(float(node["threshold"]))
    if node["missing_type"] not in {"None", "NaN"}:
        raise ValueError(f"Missing values must be NaN. Got missing_type={node['missing_type']}.")
    # A column without gaps in training: LightGBM reads a later gap as 0.
    is_yes = bool(node["default_left"]) if node["missing_type"] == "NaN" else bound >= 0
    return Split(column, bound, (), missing_is_yes=is_yes, yes=yes, no=yes + 1)


def _bound(threshold: float) -> float:
    """Return a bound that sends numbers next to zero where LightGBM sends zero."""
    bound = at_most(threshold)
    if abs(bound) > _ZERO:
        return bound
    return _ZERO if bound >= 0 else below(-_ZERO)

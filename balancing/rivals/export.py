"""From boosted trees to the same ONNX signature that networks have, branch for branch.

Written node by node, not by a converter: a bound that a converter rounds to float32 sends rows on
it the other way, and float32 sums depend on how many rows and threads there are. Here bounds are
float32 by nature (:mod:`balancing.rivals.trees`), and leaves lie on a grid on which float64 adds
without rounding, so a row's logits are the same to the bit in whatever order trees are added.
"""

import math
from collections.abc import Iterator
from itertools import accumulate
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from balancing.export import OPSET, strip_metadata
from balancing.rivals.inputs import LARGEST
from balancing.rivals.trees import BoostedTrees, Leaf, Split, Tree

_ML_DOMAIN = "ai.onnx.ml"
_ML_OPSET = 5
_IR_VERSION = 10
# What TreeEnsemble calls them.
_AT_MOST, _MEMBER = 0, 6
_SUM, _NO_TRANSFORM = 1, 0
_MANTISSA_BITS = 52

_Float64 = NDArray[np.float64]


def trees_onnx_bytes(boosted: BoostedTrees, *, n_numeric: int, n_categorical: int) -> bytes:
    """Return a graph from numbers and codes to logits; its bytes depend on the trees alone.

    The graph takes any number of rows, as that of :func:`balancing.export.onnx_bytes` does.
    Numbers beyond ``LARGEST`` are clipped, as they were for training.

    Args:
        boosted: The trees.
        n_numeric: Numeric columns.
        n_categorical: Categorical columns.
    """
    inputs = [_input("numeric", TensorProto.FLOAT, n_numeric)]
    if n_categorical:
        inputs.append(_input("categorical", TensorProto.INT64, n_categorical))
    grid = _grid(boosted)
    constants = [
        numpy_helper.from_array(np.array(value, dtype=dtype), name)
        for name, value, dtype in [
            ("least", -LARGEST, np.float32),
            ("most", LARGEST, np.float32),
            ("base", _on(grid, np.array(boosted.base)), np.float64),
            ("half", 0.5, np.float64),
        ]
    ]
    graph = helper.make_graph(
        [*_matrix_nodes(has_codes=n_categorical > 0), _ensemble(boosted, grid), *_logit_nodes()],
        "whitecrow",
        inputs,
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n_rows", 2])],
        constants,
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(_ML_DOMAIN, _ML_OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)
    strip_metadata(model)
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _input(name: str, kind: int, width: int) -> Any:
    return helper.make_tensor_value_info(name, kind, ["n_rows", width])


def _matrix_nodes(*, has_codes: bool) -> Iterator[Any]:
    """Yield what makes one float64 matrix of the inputs."""
    # Max and Min hand NaN on, which Clip need not.
    yield helper.make_node("Max", ["numeric", "least"], ["bounded_below"])
    yield helper.make_node("Min", ["bounded_below", "most"], ["bounded"])
    yield helper.make_node("Cast", ["bounded"], ["numbers"], to=TensorProto.DOUBLE)
    if has_codes:
        yield helper.make_node("Cast", ["categorical"], ["codes"], to=TensorProto.DOUBLE)
        yield helper.make_node("Concat", ["numbers", "codes"], ["features"], axis=1)
    else:
        yield helper.make_node("Identity", ["numbers"], ["features"])


def _logit_nodes() -> Iterator[Any]:
    """Yield what makes antisymmetric logits of the sum."""
    yield helper.make_node("Add", ["sum", "base"], ["log_odds"])
    yield helper.make_node("Mul", ["log_odds", "half"], ["exact_positive"])
    yield helper.make_node("Cast", ["exact_positive"], ["positive"], to=TensorProto.FLOAT)
    yield helper.make_node("Neg", ["positive"], ["negative"])
    yield helper.make_node("Concat", ["negative", "positive"], ["logits"], axis=1)


def _grid(boosted: BoostedTrees) -> float:
    """Return the spacing at which every sum of the leaves is exact in float64."""
    largest = [max(abs(leaf) for leaf in _leaves(tree)) for tree in boosted.trees]
    total = abs(boosted.base) + math.fsum(largest)
    return 2.0 ** (math.ceil(math.log2(max(total, 1.0))) - _MANTISSA_BITS + 1)


def _on(grid: float, values: _Float64) -> _Float64:
    return np.round(values / grid) * grid


def _leaves(tree: Tree) -> list[float]:
    return [node.value for node in tree if isinstance(node, Leaf)]


def _with_root(tree: Tree) -> Tree:
    """Return the tree, with a split that changes nothing where it is a single leaf."""
    if isinstance(tree[0], Split):
        return tree
    return (Split(0, 0.0, (), missing_is_yes=False, yes=1, no=2), tree[0], tree[0])


def _ensemble(boosted: BoostedTrees, grid: float) -> Any:
    """Return the node that adds up the leaves."""
    trees = [_with_root(tree) for tree in boosted.trees]
    splits: list[Split] = []
    leaves: list[float] = []
    yes: list[tuple[int, bool]] = []
    no: list[tuple[int, bool]] = []
    for tree in trees:
        place = _places(tree, len(splits), len(leaves))
        own = [node for node in tree if isinstance(node, Split)]
        splits += own
        leaves += _leaves(tree)
        yes += [place[node.yes] for node in own]
        no += [place[node.no] for node in own]
    sizes = [sum(isinstance(node, Split) for node in tree) for tree in trees]
    has_codes = any(split.bound is None for split in splits)
    return helper.make_node(
        "TreeEnsemble",
        ["features"],
        ["sum"],
        domain=_ML_DOMAIN,
        n_targets=1,
        aggregate_function=_SUM,
        post_transform=_NO_TRANSFORM,
        tree_roots=list(accumulate(sizes[:-1], initial=0)),
        nodes_featureids=[split.column for split in splits],
        nodes_modes=_tensor([_MEMBER if s.bound is None else _AT_MOST for s in splits], np.uint8),
        nodes_splits=_tensor([split.bound or 0.0 for split in splits]),
        nodes_missing_value_tracks_true=[int(split.missing_is_yes) for split in splits],
        nodes_truenodeids=[at for at, _ in yes],
        nodes_trueleafs=[int(is_leaf) for _, is_leaf in yes],
        nodes_falsenodeids=[at for at, _ in no],
        nodes_falseleafs=[int(is_leaf) for _, is_leaf in no],
        leaf_targetids=[0] * len(leaves),
        leaf_weights=_tensor(_on(grid, np.array(leaves))),
        **({"membership_values": _tensor(_members(splits))} if has_codes else {}),
    )


def _places(tree: Tree, n_splits: int, n_leaves: int) -> list[tuple[int, bool]]:
    """Return each node's number among the splits or the leaves, and whether it is a leaf."""
    found = []
    for node in tree:
        is_leaf = isinstance(node, Leaf)
        found.append((n_leaves if is_leaf else n_splits, is_leaf))
        n_leaves, n_splits = n_leaves + is_leaf, n_splits + (not is_leaf)
    return found


def _members(splits: list[Split]) -> list[float]:
    """Return the codes of every split that asks for codes, each list ended by NaN."""
    return [
        value
        for split in splits
        if split.bound is None
        for value in (*map(float, split.codes), math.nan)
    ]


def _tensor(values: Any, dtype: type = np.float64) -> Any:
    return numpy_helper.from_array(np.asarray(values, dtype=dtype))

"""A user's graph within ours: the inputs that a network has, and antisymmetric logits."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, compose, helper, numpy_helper

from balancing.export import strip_metadata
from flows.registration.scores import LEAST_PROBABILITY, Scores
from flows.registration.user_model import UserModel

_PREFIX = "user/"


def wrapped_onnx_bytes(
    user: UserModel, scores: Scores, *, n_numeric: int, n_categorical: int
) -> bytes:
    """Return the graph that is served; its bytes depend on the user's graph alone.

    Args:
        user: The model.
        scores: How to read its output.
        n_numeric: Numeric columns.
        n_categorical: Categorical columns.
    """
    model = compose.add_prefix(user.proto, _PREFIX)
    inner = model.graph
    inputs = [_input("numeric", TensorProto.FLOAT, n_numeric)]
    if n_categorical:
        inputs.append(_input("categorical", TensorProto.INT64, n_categorical))
    constants = [
        numpy_helper.from_array(np.array(value, dtype=dtype), name)
        for name, value, dtype in [
            ("column", [-1, 1], np.int64),
            ("first", [0], np.int64),
            ("second", [1], np.int64),
            ("half", 0.5, np.float64),
            ("one", 1.0, np.float64),
            ("least", LEAST_PROBABILITY, np.float64),
            ("most", 1 - LEAST_PROBABILITY, np.float64),
        ]
    ]
    nodes = [*_entry(user, has_codes=n_categorical > 0), *inner.node, *_exit(user, scores)]
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "whitecrow",
        inputs,
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n_rows", 2])],
        [*inner.initializer, *(each for each in constants if each.name in used)],
        sparse_initializer=inner.sparse_initializer,
    )
    found = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    strip_metadata(found)
    onnx.checker.check_model(found)
    content: bytes = found.SerializeToString(deterministic=True)
    return content


def _input(name: str, kind: int, width: int) -> Any:
    return helper.make_tensor_value_info(name, kind, ["n_rows", width])


def _entry(user: UserModel, *, has_codes: bool) -> Iterator[Any]:
    """Yield what gives the user's graph its inputs."""
    names = [f"{_PREFIX}{name}" for name in user.inputs]
    if not user.takes_matrix or not has_codes:
        for ours, theirs in zip(("numeric", "categorical"), names, strict=False):
            yield helper.make_node("Identity", [ours], [theirs])
        return
    yield helper.make_node("Cast", ["categorical"], ["codes"], to=TensorProto.FLOAT)
    yield helper.make_node("Concat", ["numeric", "codes"], names, axis=1)


def _exit(user: UserModel, scores: Scores) -> Iterator[Any]:
    """Yield what makes logits of the user's output, in float64 up to the end."""
    yield helper.make_node("Cast", [f"{_PREFIX}{user.output}"], ["scores"], to=TensorProto.DOUBLE)
    yield from _two_columns(scores) if scores.n_columns == 2 else _one_column(scores)
    yield helper.make_node("Mul", ["log_odds", "half"], ["exact_positive"])
    yield helper.make_node("Cast", ["exact_positive"], ["positive"], to=TensorProto.FLOAT)
    yield helper.make_node("Neg", ["positive"], ["negative"])
    yield helper.make_node("Concat", ["negative", "positive"], ["logits"], axis=1)


def _two_columns(scores: Scores) -> Iterator[Any]:
    source = "scores"
    if scores.output == "probability":
        yield helper.make_node("Max", ["scores", "least"], ["bounded"])
        yield helper.make_node("Log", ["bounded"], ["logs"])
        source = "logs"
    yield helper.make_node("Gather", [source, "first"], ["of_negative"], axis=1)
    yield helper.make_node("Gather", [source, "second"], ["of_positive"], axis=1)
    yield helper.make_node("Sub", ["of_positive", "of_negative"], ["log_odds"])


def _one_column(scores: Scores) -> Iterator[Any]:
    if scores.output == "log_odds":
        yield helper.make_node("Reshape", ["scores", "column"], ["log_odds"])
        return
    yield helper.make_node("Reshape", ["scores", "column"], ["single"])
    yield helper.make_node("Max", ["single", "least"], ["bounded_below"])
    yield helper.make_node("Min", ["bounded_below", "most"], ["bounded"])
    yield helper.make_node("Sub", ["one", "bounded"], ["rest"])
    yield helper.make_node("Log", ["bounded"], ["log_positive"])
    yield helper.make_node("Log", ["rest"], ["log_negative"])
    yield helper.make_node("Sub", ["log_positive", "log_negative"], ["log_odds"])

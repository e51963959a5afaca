"""Reading a user's ONNX file, and refusing what could not be served safely or again."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto

from infra.errors import InputError

MOST_BYTES = 256 * 2**20
OLDEST_OPSET = 13

_DOMAINS = {"", "ai.onnx", "ai.onnx.ml"}
_RANDOM = {
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
}
_NUMBERS = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16}


class ModelRefused(InputError):
    """Raised for a user's model that cannot be released; says what to change."""


@dataclass(frozen=True, slots=True)
class UserModel:
    """A user's model that may be wrapped.

    Attributes:
        proto: The graph, its local functions inlined.
        sha256: Of the file.
        inputs: Names of the inputs: one matrix, or ``numeric`` and ``categorical``.
        output: Name of the output that carries the scores.
    """

    proto: Any
    sha256: str
    inputs: tuple[str, ...]
    output: str

    @property
    def takes_matrix(self) -> bool:
        """Whether numbers and codes come as one matrix."""
        return len(self.inputs) == 1

    @property
    def widths(self) -> tuple[int | None, ...]:
        """Columns of each input, where the file says so."""
        given = {each.name: each for each in self.proto.graph.input}
        return tuple(_size(given[name], 1) for name in self.inputs)


def read_user_model(path: Path) -> UserModel:
    """Return the model in a file, everything checked that needs no rows.

    Raises:
        ModelRefused: If it is not ONNX, too large, spread over several files, of an operator set
            that is not ONNX's own, random, or of inputs or outputs that are not taken.
    """
    content = _read(path)
    model = _parse(path, content)
    _refuse_external_data(path, model)
    if model.functions:
        from onnx.inliner import inline_local_functions

        model = inline_local_functions(model)
    _check_operators(path, model)
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelRefused(f"{path} is not valid ONNX: {reason} Export it again.") from None
    return UserModel(
        model, hashlib.sha256(content).hexdigest(), _inputs(path, model), _output(path, model)
    )


def _read(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise ModelRefused(
                f"{path} must not be larger than {MOST_BYTES // 2**20} MiB. Got "
                f"{size / 2**20:,.0f} MiB. Export a smaller model."
            )
        return path.read_bytes()
    except OSError as error:
        raise ModelRefused(f"Cannot read {path}: {error.strerror}.") from None


def _parse(path: Path, content: bytes) -> Any:
    try:
        model = onnx.load_model_from_string(content)
    except DecodeError:
        model = None
    if model is None or not model.graph.node or not model.opset_import:
        raise ModelRefused(f"{path} is not an ONNX model. Export one, for instance as README says.")
    return model


def _refuse_external_data(path: Path, model: Any) -> None:
    for tensor in _tensors(model.graph):
        if tensor.data_location == TensorProto.EXTERNAL:
            raise ModelRefused(
                f"{path} keeps weights in another file ({tensor.name!r}). Export it as one file: "
                "external_data=False, or onnx.save(model, path, save_as_external_data=False)."
            )


def _tensors(graph: Any) -> Iterator[Any]:
    """Yield every constant of a graph and of the graphs within it."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
    for inner in _inner_graphs(graph):
        yield from _tensors(inner)


def _inner_graphs(graph: Any) -> Iterator[Any]:
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield attribute.g
            yield from attribute.graphs


def _nodes(graph: Any) -> Iterator[Any]:
    yield from graph.node
    for inner in _inner_graphs(graph):
        yield from _nodes(inner)


def _check_operators(path: Path, model: Any) -> None:
    for node in _nodes(model.graph):
        if node.domain not in _DOMAINS:
            raise ModelRefused(
                f"{path} uses the operator {node.op_type!r} of {node.domain!r}. Only ONNX's own "
                "operators (ai.onnx, ai.onnx.ml) are served. Export without it."
            )
        if node.op_type in _RANDOM:
            raise ModelRefused(
                f"{path} draws random numbers ({node.op_type}). The same row must always get the "
                "same score: export the model in evaluation mode."
            )
    # Exporters leave the domains of functions behind that are inlined.
    kept = [each for each in model.opset_import if each.domain in _DOMAINS]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    opset = max((each.version for each in kept if each.domain in {"", "ai.onnx"}), default=0)
    if opset < OLDEST_OPSET:
        raise ModelRefused(
            f"{path} must be of opset {OLDEST_OPSET} or newer. Got {opset}. "
            "Export it again with a newer one."
        )


def _inputs(path: Path, model: Any) -> tuple[str, ...]:
    constants = {each.name for each in model.graph.initializer}
    given = {each.name: each for each in model.graph.input if each.name not in constants}
    pair = {"numeric": TensorProto.FLOAT, "categorical": TensorProto.INT64}
    expected = pair if set(given) == set(pair) else dict.fromkeys(given, TensorProto.FLOAT)
    takes = all(_is_matrix(given[name], kind) for name, kind in expected.items())
    if not takes or (len(given) != 1 and expected is not pair):
        found = ", ".join(_described(each) for each in given.values()) or "none"
        raise ModelRefused(
            f"{path} must take one float32 matrix (numbers, then codes), or numeric (float32) and "
            f"categorical (int64). Got {found}. One input a column is not taken: concatenate them."
        )
    for each in given.values():
        if _size(each, 0) is not None:
            raise ModelRefused(
                f"{path} takes exactly {_size(each, 0)} rows at once. Export it with a free first "
                "dimension."
            )
    return tuple(expected)


def _is_matrix(value: Any, kind: int) -> bool:
    tensor = value.type.tensor_type
    return tensor.elem_type == kind and len(tensor.shape.dim) == 2


def _size(value: Any, axis: int) -> int | None:
    """Return how long an axis is, None where any length will do."""
    dimension = value.type.tensor_type.shape.dim[axis]
    return int(dimension.dim_value) if dimension.dim_value > 0 else None


def _described(value: Any) -> str:
    if not value.type.HasField("tensor_type"):
        return f"{value.name} (no tensor)"
    tensor = value.type.tensor_type
    shape = ", ".join(str(d.dim_value or d.dim_param or "?") for d in tensor.shape.dim)
    return f"{value.name} ({TensorProto.DataType.Name(tensor.elem_type).lower()}, [{shape}])"


def _output(path: Path, model: Any) -> str:
    """Return the one output of numbers; a predicted class beside it, as converters add, is left."""
    outputs = list(model.graph.output)
    numbers = [each.name for each in outputs if each.type.tensor_type.elem_type in _NUMBERS]
    if len(numbers) != 1:
        found = ", ".join(_described(each) for each in outputs)
        raise ModelRefused(
            f"{path} must have one output of numbers: logits, log odds or probabilities. Got "
            f"{found}. Keep that one only (converters of scikit-learn: zipmap=False)."
        )
    name: str = numbers[0]
    return name

"""From a trained network to one ONNX file whose hash depends on graph and weights alone."""

import hashlib
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import torch

from balancing.networks.network import ScoringNetwork
from infra.storage import write_atomically

OPSET = 20


def export_onnx(
    network: ScoringNetwork, path: str | Path, *, n_numeric: int, n_categorical: int
) -> str:
    """Write the network as ONNX and return the file's SHA-256.

    The graph takes any number of rows. Its inputs are ``numeric`` and, only where there are
    categories, ``categorical``; its output is ``logits``.

    Args:
        network: A trained network, on the CPU.
        path: File to write; replaced if there.
        n_numeric: Numeric columns.
        n_categorical: Categorical columns.
    """
    content = onnx_bytes(network, n_numeric=n_numeric, n_categorical=n_categorical)
    with write_atomically(Path(path)) as staging:
        Path(staging).write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def onnx_bytes(network: ScoringNetwork, *, n_numeric: int, n_categorical: int) -> bytes:
    """Return the network's graph, bare of everything that is neither graph nor weights."""
    example = [torch.zeros(2, n_numeric), torch.zeros(2, n_categorical, dtype=torch.int64)]
    names = ["numeric", "categorical"]
    if n_categorical == 0:
        example, names = example[:1], names[:1]
    rows = torch.export.Dim("n_rows")
    with _quiet_exporter():
        program = torch.onnx.export(
            network.eval(),
            tuple(example),
            dynamo=True,
            opset_version=OPSET,
            input_names=names,
            output_names=["logits"],
            dynamic_shapes=tuple({0: rows} for _ in names),
            external_data=False,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    strip_metadata(model)
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Keep the exporter's progress notes and its own deprecations from the caller."""
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    exporter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        exporter.setLevel(level)


def strip_metadata(model: Any) -> None:
    """Remove what the exporter leaves behind: source paths, line numbers, comments, versions."""
    for field in ("producer_name", "producer_version", "doc_string", "domain"):
        model.ClearField(field)
    del model.metadata_props[:]
    graph = model.graph
    graph.name = "whitecrow"
    del graph.metadata_props[:]
    del graph.value_info[:]
    graph.ClearField("doc_string")
    for part in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("doc_string")
        del part.metadata_props[:]

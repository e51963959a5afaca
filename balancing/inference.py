"""Running an exported network: numpy and ONNX Runtime only."""

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from infra.errors import InputError

ROWS_AT_ONCE = 1024
ROW_MULTIPLE = 16

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]


class ModelUnreadable(InputError):
    """Raised when a file is not an ONNX model that this runtime can load."""


class OnnxModel:
    """An exported network, ready to score.

    Rows are scored in chunks, each padded to a multiple of 16 rows: the runtime's vector
    instructions then never meet a rest, which they would compute with other roundings. So a
    row's logits are the same, to the bit, whether it comes alone, in a request, or in a file.

    Args:
        model: Path of an ONNX file, or its bytes.
        threads: Threads that one call may use.

    Raises:
        ModelUnreadable: If the model cannot be loaded.
    """

    def __init__(self, model: str | Path | bytes, *, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        content = model if isinstance(model, bytes) else str(model)
        try:
            self._session = onnxruntime.InferenceSession(
                content, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # the runtime has one exception class per status code
            where = "bytes" if isinstance(model, bytes) else str(model)
            raise ModelUnreadable(
                f"The model must be an ONNX file. Got {where}, which does not load "
                f"({type(error).__name__}). Export it again."
            ) from error
        shapes = {given.name: given.shape for given in self._session.get_inputs()}
        self.n_numeric = int(shapes["numeric"][1])
        self.n_categorical = int(shapes["categorical"][1]) if "categorical" in shapes else 0

    def logits(self, numeric: FloatArray, categorical: IntArray | None = None) -> FloatArray:
        """Return the two logits of each row.

        Shape:
            ``(n_rows, n_numeric)`` float32 and ``(n_rows, n_categorical)`` int64 ->
            ``(n_rows, 2)`` float32. ``categorical`` may be left out where there are none.
        """
        inputs = self._inputs(numeric, categorical)
        n_rows = len(numeric)
        if n_rows <= ROWS_AT_ONCE:
            return self._run(inputs, n_rows)
        out = np.empty((n_rows, 2), dtype=np.float32)
        for start in range(0, n_rows, ROWS_AT_ONCE):
            part = {name: values[start : start + ROWS_AT_ONCE] for name, values in inputs.items()}
            out[start : start + ROWS_AT_ONCE] = self._run(part, len(part["numeric"]))
        return out

    def _inputs(
        self, numeric: FloatArray, categorical: IntArray | None
    ) -> dict[str, FloatArray | IntArray]:
        if numeric.ndim != 2 or numeric.shape[1] != self.n_numeric:
            raise ValueError(
                f"numeric must have shape (n_rows, {self.n_numeric}). Got {numeric.shape}."
            )
        inputs: dict[str, FloatArray | IntArray] = {
            "numeric": np.ascontiguousarray(numeric, dtype=np.float32)
        }
        if self.n_categorical:
            if categorical is None or categorical.shape != (len(numeric), self.n_categorical):
                shape = None if categorical is None else categorical.shape
                raise ValueError(
                    f"categorical must have shape ({len(numeric)}, {self.n_categorical}). "
                    f"Got {shape}."
                )
            inputs["categorical"] = np.ascontiguousarray(categorical, dtype=np.int64)
        return inputs

    def _run(self, inputs: dict[str, FloatArray | IntArray], n_rows: int) -> FloatArray:
        if n_rows == 0:
            return np.empty((0, 2), dtype=np.float32)
        if n_padding := -n_rows % ROW_MULTIPLE:
            inputs = {name: _pad(values, n_padding) for name, values in inputs.items()}
        logits: FloatArray = self._session.run(["logits"], inputs)[0]
        return logits[:n_rows]


def _pad(values: FloatArray | IntArray, n_rows: int) -> FloatArray | IntArray:
    padded = np.zeros((len(values) + n_rows, values.shape[1]), dtype=values.dtype)
    padded[: len(values)] = values
    return padded

"""Taking a user's model in the place of training: it must behave on the data as a scorer does."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from balancing.dataset import FloatArray, IntArray, LabelledArrays
from features.feature_set import FeatureSet
from flows.fitted_model import FittedModel, logits_of
from flows.fitting import FeatureRows
from flows.registration.config import RegisteredConfig
from flows.registration.scores import Float64Array, read_scores
from flows.registration.user_model import ModelRefused, UserModel, read_user_model
from flows.registration.wrapping import wrapped_onnx_bytes

NOTE = (
    "Made elsewhere: what it was fitted on is its owner's word. Counts are those of the training "
    "part; there is no training curve, no memorisation to draw and no head for tau_normalisation."
)

_N_ALONE = 64
_ROWS_AT_ONCE = 1024
_TOLERANCE = 1e-5
"""Of log odds, absolute up to 1 and relative beyond, as between training and serving."""


def take_registered(rows: FeatureRows, config: RegisteredConfig) -> FittedModel:
    """Return a user's model, wrapped, with its logits on the calibration part.

    Raises:
        ModelRefused: If the file is not the one that was asked for, does not fit the feature set,
            or does not score every row of the data finitely, alone as together, and again alike.
    """
    started = time.monotonic()
    user = read_user_model(Path(config.file))
    if user.sha256 != config.sha256:
        raise ModelRefused(f"{config.file} has changed since it was asked for. Register it again.")
    _check_widths(user, rows.feature_set)
    arrays = rows.arrays
    runner = _Runner(user)
    values = runner.run(arrays.numeric, arrays.categorical)
    _check_finite(values)
    scores = read_scores(values, config.output)
    _check_alone(runner, arrays, scores.log_odds(values), scores.log_odds)

    def logits(asked: LabelledArrays) -> FloatArray:
        return logits_of(scores.log_odds(runner.run(asked.numeric, asked.categorical)))

    calibration = rows.index("calibration")
    return FittedModel(
        onnx=wrapped_onnx_bytes(
            user,
            scores,
            n_numeric=len(rows.feature_set.numeric),
            n_categorical=len(rows.feature_set.categorical),
        ),
        logits=logits,
        fit_index=rows.index("train"),
        calibration_index=calibration,
        calibration_logits=logits_of(scores.log_odds(values[calibration])),
        how={
            "by": "its owner",
            "output": scores.output,
            "output_by": "its owner" if config.output else "its values",
        },
        seconds=time.monotonic() - started,
        notes=(NOTE,),
    )


class _Runner:
    """A user's graph as it came, fed as its owner feeds it."""

    def __init__(self, user: UserModel) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        self._user = user
        try:
            self._session = onnxruntime.InferenceSession(
                user.proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # the runtime has one exception class per status code
            raise ModelRefused(
                f"ONNX Runtime {onnxruntime.__version__} does not load the model: {_short(error)} "
                "Export it for an older opset."
            ) from error

    def run(self, numeric: FloatArray, categorical: IntArray) -> Float64Array:
        """Return the output of every row, float64."""
        parts = [
            self._run(numeric[start : start + _ROWS_AT_ONCE], categorical[start:][:_ROWS_AT_ONCE])
            for start in range(0, max(len(numeric), 1), _ROWS_AT_ONCE)
        ]
        return np.concatenate(parts)

    def _run(self, numeric: FloatArray, categorical: IntArray) -> Float64Array:
        values: tuple[NDArray[Any], ...] = (numeric, categorical)
        if self._user.takes_matrix:
            values = (np.hstack([numeric, categorical.astype(np.float32)]),)
        inputs = dict(zip(self._user.inputs, values, strict=True))
        try:
            (found,) = self._session.run([self._user.output], inputs)
        except Exception as error:  # likewise
            raise ModelRefused(
                f"The model does not run on {len(numeric)} rows: {_short(error)} "
                "It must take any number of them."
            ) from error
        if len(found) != len(numeric):
            raise ModelRefused(
                f"The model must put out a line a row. Got {found.shape} for {len(numeric)} rows."
            )
        return np.asarray(found, dtype=np.float64)


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200].rstrip(". ") + "."


def _check_widths(user: UserModel, feature_set: FeatureSet) -> None:
    d_numeric, d_categorical = len(feature_set.numeric), len(feature_set.categorical)
    if user.takes_matrix:
        expected: tuple[int, ...] = (d_numeric + d_categorical,)
    else:
        expected = (d_numeric, d_categorical)
    for name, width, wanted in zip(user.inputs, user.widths, expected, strict=True):
        if width not in {None, wanted}:
            raise ModelRefused(
                f"The model's input {name!r} must have {wanted} columns: the feature set has "
                f"{d_numeric} numbers and {d_categorical} codes. Got {width}. Train on what "
                "whitecrow featurize writes under this contract."
            )


def _check_finite(values: Float64Array) -> None:
    bad = ~np.isfinite(values.reshape(len(values), -1)).all(axis=1)
    if bad.any():
        raise ModelRefused(
            f"The model must score every row. {int(bad.sum()):,} of {len(values):,} rows get NaN "
            "or infinity. Missing numbers come as NaN: let the graph fill them in."
        )


def _check_alone(
    runner: _Runner, arrays: LabelledArrays, together: Float64Array, log_odds: Any
) -> None:
    """Refuse a model whose score of a row depends on the rows beside it, or on the run."""
    numeric, categorical = arrays.numeric[-_N_ALONE:], arrays.categorical[-_N_ALONE:]
    alone = np.concatenate(
        [log_odds(runner.run(numeric[[at]], categorical[[at]])) for at in range(len(numeric))]
    )
    again = log_odds(runner.run(arrays.numeric, arrays.categorical))
    if not np.array_equal(again, together):
        raise ModelRefused(
            "The same rows get other scores when they are scored again. Export the model in "
            "evaluation mode, without anything random."
        )
    expected = together[-_N_ALONE:]
    largest = float(np.max(np.abs(alone - expected) / np.maximum(1, np.abs(expected))))
    if largest > _TOLERANCE:
        raise ModelRefused(
            f"A row's score depends on the rows beside it: log odds differ by {largest:.2g}. "
            "Export the model in evaluation mode, without statistics of the batch."
        )

"""A model of any kind as a release needs it: a graph, its own logits, and the rows behind it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from balancing.dataset import FloatArray, IntArray, LabelledArrays
from balancing.networks.head import LinearHead


@dataclass(frozen=True, slots=True)
class FittedModel:
    """A model that was fitted, here or elsewhere.

    Attributes:
        onnx: The graph that will be served.
        logits: What the model says itself, not by that graph; the parity gates compare the two.
        fit_index: Rows of the feature table that it was fitted on.
        calibration_index: Rows of the feature table that calibrate it.
        calibration_logits: Their logits, ``(n_rows, 2)``, of models that never saw them.
        how: How length and calibration were found, for the record.
        seconds: Wall time of the last fit.
        head: Of a network with a single linear one.
        notes: What else a person should know, a line each.
        history: Progress, a record an epoch; empty where there are none.
        memorisation: What was seen of the network at each evaluation; empty likewise.
    """

    onnx: bytes
    logits: Callable[[LabelledArrays], FloatArray]
    fit_index: IntArray
    calibration_index: IntArray
    calibration_logits: FloatArray
    how: dict[str, Any]
    seconds: float
    head: LinearHead | None = None
    notes: tuple[str, ...] = ()
    history: tuple[dict[str, Any], ...] = ()
    memorisation: tuple[dict[str, float | None], ...] = ()


def logits_of(log_odds: NDArray[np.float64]) -> FloatArray:
    """Return the two logits ``(-l/2, +l/2)`` of log odds ``l``.

    Shape:
        ``(n_rows,)`` -> ``(n_rows, 2)`` float32.
    """
    half = (log_odds / 2).astype(np.float32)
    return np.stack([-half, half], axis=1)


def how_in_words(how: dict[str, Any]) -> str:
    """Return in a few words how long a model was trained and who decided that."""
    lengths = {"epochs": "{:.2f} epochs", "rounds": "{} rounds"}
    found = [words.format(how[name]) for name, words in lengths.items() if how.get(name)]
    return f"{found[0]}, chosen by {how['by']}" if found else f"trained elsewhere, by {how['by']}"

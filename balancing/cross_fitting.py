"""Learning from few positives: judge on every fold, then learn from all rows.

A validation period with few positives is a noisy judge, and rows held back for it are rows not
learnt from. Here every fold's held-out rows judge together how long to train; their logits,
from networks that never saw them, serve to calibrate; and the released network is fitted to
all rows for that length.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from balancing.dataset import FloatArray, IntArray, LabelledArrays
from balancing.strategies.strategy import Device, FittedNetwork, Observer, Strategy
from balancing.training import average_precision
from balancing.training_trace import EpochRecord, Evaluation, Observation

logger = logging.getLogger(__name__)

FEWEST_HELD_BACK_POSITIVES = 200
"""With fewer positives held back, folds judge better than one part; see the README."""

Fold = tuple[IntArray, IntArray]
"""Row numbers to fit on, row numbers held out."""

OnFoldEpoch = Callable[[int, EpochRecord], None]
"""Called with the fold's number, from 0, and its epoch's record."""


@dataclass(frozen=True, slots=True)
class CrossFit:
    """What the folds found.

    Attributes:
        oof_logits: Two logits of each held-out row from the network that did not see it.
        holdout_index: Row number of each held-out row, ascending.
        n_epochs: Length of training, in epochs, with the best average precision.
        average_precisions: Each fold's average precision at that length.
        observations: What an observer saw of the last fold.

    Shape:
        ``(n_holdout, 2)`` float32, ``(n_holdout,)`` int64.
    """

    oof_logits: FloatArray
    holdout_index: IntArray
    n_epochs: float
    average_precisions: tuple[float, ...]
    observations: tuple[Observation, ...] = ()


def cross_fit(
    strategy: Strategy,
    arrays: LabelledArrays,
    folds: Sequence[Fold],
    *,
    cardinalities: tuple[int, ...] = (),
    seed: int = 0,
    device: Device = "auto",
    on_epoch: OnFoldEpoch | None = None,
    observer: Observer | None = None,
) -> CrossFit:
    """Fit one network a fold, choose one length for all, and return the held-out logits.

    Args:
        strategy: Fits the networks.
        arrays: All rows that may be learnt from.
        folds: Rows to fit on and rows held out; no row is held out twice.
        cardinalities: Codes a categorical column, missing and unknown included.
        seed: Of the first fold; the others count on from it.
        device: Where to train.
        on_epoch: Called after every epoch of every fold.
        observer: Looks at the last fold, whose network has seen the most rows.

    Raises:
        OneClassOnly: If a fold lacks a class on either side.
    """
    holdout = _checked_holdout(arrays, folds)

    def fit_fold(
        number: int, n_epochs: float | None = None, observer: Observer | None = None
    ) -> FittedNetwork:
        fit, held_out = folds[number]
        return strategy.fit(
            arrays.take(fit),
            cardinalities=cardinalities,
            validation=arrays.take(held_out),
            n_epochs=n_epochs,
            seed=seed + number,
            device=device,
            keep_logits=True,
            on_epoch=_numbered(on_epoch, number),
            observer=observer,
        )

    last = len(folds) - 1
    fits = [fit_fold(n, observer=observer if n == last else None).trace for n in range(len(folds))]
    traces = [trace.evaluations for trace in fits]
    weights = np.array([arrays.label[held_out].sum() for _, held_out in folds], dtype=np.float64)
    n_epochs = best_length(traces, weights=weights)
    if strategy.retrains_head:
        chosen = [
            _judged(fit_fold(number, n_epochs), arrays.take(held_out), n_epochs)
            for number, (_, held_out) in enumerate(folds)
        ]
    else:
        chosen = [_latest(trace, n_epochs) for trace in traces]
    order = np.argsort(holdout, kind="stable")
    logger.info("length of training chosen", extra={"n_epochs": n_epochs, "folds": len(folds)})
    return CrossFit(
        oof_logits=np.concatenate([_two_logits(evaluation) for evaluation in chosen])[order],
        holdout_index=holdout[order],
        n_epochs=n_epochs,
        average_precisions=tuple(evaluation.average_precision for evaluation in chosen),
        observations=fits[last].observations,
    )


def refit(
    strategy: Strategy,
    arrays: LabelledArrays,
    crossed: CrossFit,
    *,
    cardinalities: tuple[int, ...] = (),
    seed: int = 0,
    device: Device = "auto",
    on_epoch: Callable[[EpochRecord], None] | None = None,
) -> FittedNetwork:
    """Fit the network to release: all rows, for the length that the folds chose."""
    return strategy.fit(
        arrays,
        cardinalities=cardinalities,
        n_epochs=crossed.n_epochs,
        seed=seed,
        device=device,
        on_epoch=on_epoch,
    )


def best_length(traces: Sequence[Sequence[Evaluation]], *, weights: NDArray[np.float64]) -> float:
    """Return the number of epochs with the best weighted mean average precision.

    A fold that stopped early counts with its last evaluation from there on.

    Args:
        traces: Evaluations of each fold, in order.
        weights: Of each fold; its held-out positives.
    """
    lengths = sorted({evaluation.epochs for trace in traces for evaluation in trace})
    first = max(trace[0].epochs for trace in traces)
    lengths = [length for length in lengths if length >= first]
    curve = [
        np.dot(weights, [_latest(trace, length).average_precision for trace in traces])
        for length in lengths
    ]
    return lengths[int(np.argmax(curve))]


def _latest(trace: Sequence[Evaluation], epochs: float) -> Evaluation:
    return max((e for e in trace if e.epochs <= epochs), key=lambda e: e.epochs, default=trace[0])


def _judged(fitted: FittedNetwork, held_out: LabelledArrays, n_epochs: float) -> Evaluation:
    """Return what a network of its final head says of the held-out rows."""
    logits = torch.from_numpy(2 * fitted.logits(held_out)[:, 1])
    reached = average_precision(logits, torch.from_numpy(held_out.label))
    return Evaluation(n_epochs, float(reached), logits)


def _two_logits(evaluation: Evaluation) -> FloatArray:
    assert evaluation.logits is not None
    half = evaluation.logits.numpy() / 2
    return np.stack([-half, half], axis=1).astype(np.float32)


def _numbered(on_epoch: OnFoldEpoch | None, number: int) -> Callable[[EpochRecord], None] | None:
    return None if on_epoch is None else lambda record: on_epoch(number, record)


def _checked_holdout(arrays: LabelledArrays, folds: Sequence[Fold]) -> IntArray:
    if not folds:
        raise ValueError("Cross-fitting needs at least one fold. Got none.")
    for fit, held_out in folds:
        arrays.take(fit).require_both_classes("fold's training")
        arrays.take(held_out).require_both_classes("fold's held-out")
    holdout = np.concatenate([held_out for _, held_out in folds]).astype(np.int64)
    if len(np.unique(holdout)) != len(holdout):
        raise ValueError("A row must be held out by one fold at most. Got overlapping folds.")
    return holdout

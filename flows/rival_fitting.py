"""Fitting what is no network by the same rule for few positives."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from balancing.dataset import IntArray
from balancing.metrics.ranking import average_precision
from balancing.rivals.rival import FittedRival, Rival
from flows.fitting import FeatureRows, has_few_positives

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RivalSettings:
    """How to fit a rival.

    Attributes:
        seed: Of the first fit; folds count on from it.
        few_positives: With fewer held-back positives than this, folds judge.
        n_folds: How many of them.
        n_threads: Threads; ``None`` for all cores.
    """

    seed: int
    few_positives: int
    n_folds: int
    n_threads: int | None = None


@dataclass(frozen=True, slots=True)
class TrainedRival:
    """A fitted rival and the rows that calibrate it.

    Attributes:
        fitted: The model.
        fit_index: Rows of the feature table that it was fitted on.
        calibration_index: Rows of the feature table that calibrate it.
        calibration_log_odds: Of these rows: of the calibration part, or out of fold.
        validation_average_precision: Of the validation part, or the mean of the folds, weighted
            by their positives.
        processor_seconds: Of the last fit alone, without those of the folds.
        seconds: Wall time of the same.
        how: How the number of rounds was found, for the record.
    """

    fitted: FittedRival
    fit_index: IntArray
    calibration_index: IntArray
    calibration_log_odds: FloatArray
    validation_average_precision: float
    processor_seconds: float
    seconds: float
    how: dict[str, Any]


def fit_rival(rows: FeatureRows, rival: Rival, settings: RivalSettings) -> TrainedRival:
    """Fit by the validation part, or by folds where positives are few."""
    if has_few_positives(rows, settings.few_positives):
        return _fit_across_folds(rows, rival, settings)
    return _fit_with_validation(rows, rival, settings)


class _Stopwatch:
    def __init__(self) -> None:
        self._processor, self._wall = time.process_time(), time.monotonic()

    def read(self) -> dict[str, float]:
        return {
            "processor_seconds": time.process_time() - self._processor,
            "seconds": time.monotonic() - self._wall,
        }


def _fit_with_validation(rows: FeatureRows, rival: Rival, settings: RivalSettings) -> TrainedRival:
    validation, calibration = rows.part("validation"), rows.index("calibration")
    watch = _Stopwatch()
    fitted = rival.fit(
        rows.part("train"),
        validation=validation,
        seed=settings.seed,
        n_threads=settings.n_threads,
    )
    spent = watch.read()
    return TrainedRival(
        fitted,
        fit_index=rows.index("train"),
        calibration_index=calibration,
        calibration_log_odds=fitted.log_odds(rows.arrays.take(calibration)),
        validation_average_precision=average_precision(
            validation.label, fitted.log_odds(validation)
        ),
        how={"by": "validation part", "rounds": fitted.n_rounds},
        **spent,
    )


def _fit_across_folds(rows: FeatureRows, rival: Rival, settings: RivalSettings) -> TrainedRival:
    """Stop each fold early by its own rows, and fit on all rows for the folds' median length.

    Networks have one length for all folds; that each fold of a rival may have its own is in the
    rival's favour.
    """
    usable, folds = rows.folds(settings.n_folds, seed=settings.seed)
    known = rows.arrays.take(usable)
    index, log_odds, reached, lengths, positives = [], [], [], [], []
    for number, fold in enumerate(folds):
        held_out = known.take(fold.holdout_index)
        fitted = rival.fit(
            known.take(fold.fit_index),
            validation=held_out,
            seed=settings.seed + number,
            n_threads=settings.n_threads,
        )
        index.append(fold.holdout_index)
        log_odds.append(fitted.log_odds(held_out))
        reached.append(average_precision(held_out.label, log_odds[-1]))
        positives.append(int(held_out.label.sum()))
        lengths.append(fitted.n_rounds or 0)
    n_rounds = round(float(np.median(lengths))) if rival.counts_rounds else None
    watch = _Stopwatch()
    fitted = rival.fit(known, n_rounds=n_rounds, seed=settings.seed, n_threads=settings.n_threads)
    spent = watch.read()
    return TrainedRival(
        fitted,
        fit_index=usable,
        calibration_index=usable[np.concatenate(index)],
        calibration_log_odds=np.concatenate(log_odds),
        validation_average_precision=float(np.average(reached, weights=positives)),
        how={"by": f"{len(folds)} folds, then all rows", "rounds": n_rounds},
        **spent,
    )

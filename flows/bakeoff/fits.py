"""The two kinds of fit in a bake-off, networks and rivals, by one rule for few positives."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from balancing.dataset import IntArray
from balancing.metrics.ranking import average_precision
from balancing.rivals.registry import SEARCH_SPACES, build_rival, read_rival
from balancing.rivals.rival import FittedRival, Rival
from balancing.strategies.registry import build_strategy, read_strategy
from flows.bakeoff.plan import Job
from flows.fitting import FeatureRows, FitSettings, fit, has_few_positives

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Fit:
    """A fitted model's log odds on rows that it never saw.

    Attributes:
        calibration_index: Rows of the feature table that calibrate it.
        calibration_log_odds: Of these rows.
        test_index: Test rows of the feature table.
        test_log_odds: Of these rows.
        validation_average_precision: What trials are chosen by.
        final_seconds: Processor time of the last fit alone, without those of the folds.
        how: How the length of training was found.
    """

    calibration_index: IntArray
    calibration_log_odds: FloatArray
    test_index: IntArray
    test_log_odds: FloatArray
    validation_average_precision: float
    final_seconds: float
    how: dict[str, Any]


def is_rival(strategy: Mapping[str, Any]) -> bool:
    """Return whether a configuration is of something else than a network."""
    return strategy.get("kind") in SEARCH_SPACES


def read_any(strategy: dict[str, Any]) -> object:
    """Return the configuration of a network's strategy or of a rival.

    Raises:
        ValidationError: If it is neither.
    """
    return read_rival(strategy) if is_rival(strategy) else read_strategy(strategy)


def fit_job(rows: FeatureRows, job: Job) -> Fit:
    """Fit what a job describes."""
    if is_rival(job.strategy):
        return _fit_rival(rows, build_rival(read_rival(job.strategy)), job)
    return _fit_network(rows, job)


def _fit_network(rows: FeatureRows, job: Job) -> Fit:
    torch.set_num_threads(job.n_threads)
    settings = FitSettings(
        build_strategy(read_strategy(job.strategy)),
        seed=job.seed,
        few_positives=job.few_positives,
        n_folds=job.n_folds,
    )
    trained = fit(rows, settings)
    test = _test_index(rows, job)
    return Fit(
        trained.calibration_index,
        _log_odds(trained.calibration_logits),
        test,
        _log_odds(trained.fitted.logits(rows.arrays.take(test))) if len(test) else np.empty(0),
        trained.validation_average_precision,
        trained.fitted.trace.processor_seconds,
        trained.how,
    )


def _test_index(rows: FeatureRows, job: Job) -> IntArray:
    return rows.index("test") if job.scores_test_rows else np.empty(0, dtype=np.int64)


def _log_odds(logits: NDArray[np.float32]) -> FloatArray:
    return logits[:, 1].astype(np.float64) - logits[:, 0]


def _fit_rival(rows: FeatureRows, rival: Rival, job: Job) -> Fit:
    test = _test_index(rows, job)
    few = has_few_positives(rows, job.few_positives)
    crossed = _rival_across_folds if few else _rival_with_validation
    fitted, calibration, log_odds, reached, seconds, how = crossed(rows, rival, job)
    scores = fitted.log_odds(rows.arrays.take(test)) if len(test) else np.empty(0)
    return Fit(calibration, log_odds, test, scores, reached, seconds, how)


_RivalFit = tuple[FittedRival, IntArray, FloatArray, float, float, dict[str, Any]]


def _rival_with_validation(rows: FeatureRows, rival: Rival, job: Job) -> _RivalFit:
    validation, calibration = rows.part("validation"), rows.index("calibration")
    started = time.process_time()
    fitted = rival.fit(
        rows.part("train"), validation=validation, seed=job.seed, n_threads=job.n_threads
    )
    seconds = time.process_time() - started
    reached = average_precision(validation.label, fitted.log_odds(validation))
    how = {"by": "validation part", "rounds": fitted.n_rounds}
    log_odds = fitted.log_odds(rows.arrays.take(calibration))
    return fitted, calibration, log_odds, reached, seconds, how


def _rival_across_folds(rows: FeatureRows, rival: Rival, job: Job) -> _RivalFit:
    """Stop each fold early by its own rows, and fit on all rows for the folds' median length.

    Networks have one length for all folds; that each fold of a rival may have its own is in the
    rival's favour.
    """
    usable, folds = rows.folds(job.n_folds, seed=job.seed)
    known = rows.arrays.take(usable)
    index, log_odds, reached, lengths, positives = [], [], [], [], []
    for number, fold in enumerate(folds):
        held_out = known.take(fold.holdout_index)
        fitted = rival.fit(
            known.take(fold.fit_index),
            validation=held_out,
            seed=job.seed + number,
            n_threads=job.n_threads,
        )
        index.append(fold.holdout_index)
        log_odds.append(fitted.log_odds(held_out))
        reached.append(average_precision(held_out.label, log_odds[-1]))
        positives.append(int(held_out.label.sum()))
        lengths.append(fitted.n_rounds or 0)
    n_rounds = round(float(np.median(lengths))) if rival.counts_rounds else None
    started = time.process_time()
    fitted = rival.fit(known, n_rounds=n_rounds, seed=job.seed, n_threads=job.n_threads)
    seconds = time.process_time() - started
    how = {"by": f"{len(folds)} folds, then all rows", "rounds": n_rounds}
    mean = float(np.average(reached, weights=positives))
    return fitted, usable[np.concatenate(index)], np.concatenate(log_odds), mean, seconds, how

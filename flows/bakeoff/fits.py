"""The two kinds of fit in a bake-off, networks and rivals, by one rule for few positives."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from balancing.dataset import IntArray
from balancing.rivals.registry import SEARCH_SPACES, build_rival, read_rival
from balancing.rivals.rival import Rival
from balancing.strategies.registry import build_strategy, read_strategy
from flows.bakeoff.plan import Job
from flows.fitting import FeatureRows, FitSettings, fit
from flows.rival_fitting import RivalSettings, fit_rival

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
    settings = RivalSettings(
        seed=job.seed,
        few_positives=job.few_positives,
        n_folds=job.n_folds,
        n_threads=job.n_threads,
    )
    trained = fit_rival(rows, rival, settings)
    test = _test_index(rows, job)
    return Fit(
        trained.calibration_index,
        trained.calibration_log_odds,
        test,
        trained.fitted.log_odds(rows.arrays.take(test)) if len(test) else np.empty(0),
        trained.validation_average_precision,
        trained.processor_seconds,
        trained.how,
    )

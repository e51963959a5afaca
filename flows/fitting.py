"""Fitting by the rule for few positives: a model and the logits of rows that it never saw.

With enough positives training stops early on the validation part and the calibration part
calibrates. With few, both come from folds over all rows that are not test rows, and the model is
fitted again on all of them, so that it has seen the newest labelled rows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from balancing.cross_fitting import OnFoldEpoch, cross_fit, refit
from balancing.dataset import IntArray, LabelledArrays
from balancing.inference import FloatArray
from balancing.metrics.ranking import average_precision
from balancing.strategies.strategy import Device, FittedNetwork, Observer, Strategy
from balancing.training_trace import EpochRecord, Observation
from features.contract import Contract
from features.feature_set import FeatureSet
from features.folds import Fold, make_folds

OnProgress = Callable[[str, EpochRecord], None]
"""What is being fitted ("fold 2 of 4"), and how far it is."""


@dataclass(frozen=True, slots=True)
class FeatureRows:
    """A feature table, and the same rows as arrays."""

    table: pl.DataFrame
    arrays: LabelledArrays
    feature_set: FeatureSet

    @classmethod
    def of(cls, table: pl.DataFrame, feature_set: FeatureSet) -> "FeatureRows":
        """Encode the rows of a table."""
        return cls(table, as_arrays(table, feature_set), feature_set)

    @property
    def contract(self) -> Contract:
        """The contract that the table was made by."""
        return self.feature_set.contract

    def index(self, *parts: str) -> IntArray:
        """Return the row numbers of some parts, in order."""
        return rows_of(self.table, *parts)

    def part(self, name: str) -> LabelledArrays:
        """Return the arrays of one part."""
        return self.arrays.take(self.index(name))

    def folds(self, n_folds: int, *, seed: int) -> tuple[IntArray, list[Fold]]:
        """Return the row numbers of all but the test rows, and folds over these rows."""
        usable = self.index("train", "validation", "calibration")
        split, delay = self.contract.split, self.contract.label.delay
        rows = self.table[usable]
        return usable, make_folds(rows, split, label_delay=delay, n_folds=n_folds, seed=seed)


@dataclass(frozen=True, slots=True)
class FitSettings:
    """How to fit: the strategy, and when positives count as few.

    Attributes:
        strategy: Fits the model.
        seed: Of everything that is drawn.
        few_positives: With fewer held-back positives than this, folds judge.
        n_folds: How many of them.
        device: Where to train.
        on_progress: Told after every epoch.
        observer: Looks at the network that the validation part judges, or at the last fold's.
    """

    strategy: Strategy
    seed: int
    few_positives: int
    n_folds: int
    device: Device = "auto"
    on_progress: OnProgress | None = None
    observer: Observer | None = None

    def reporter(self, stage: str) -> Callable[[EpochRecord], None] | None:
        """Return what to call after an epoch of a stage."""
        report = self.on_progress
        return None if report is None else lambda record: report(stage, record)

    def fold_reporter(self, n_folds: int) -> OnFoldEpoch | None:
        """Return what to call after an epoch of a fold."""
        report = self.on_progress
        if report is None:
            return None
        return lambda number, record: report(f"fold {number + 1} of {n_folds}", record)


@dataclass(frozen=True, slots=True)
class Trained:
    """A fitted model and the rows that calibrate it.

    Attributes:
        fitted: The model.
        fit_index: Rows of the feature table that it was fitted on.
        calibration_index: Rows of the feature table that calibrate it.
        calibration_logits: Their logits, ``(n_rows, 2)``: of the calibration part, or out of fold.
        validation_average_precision: What the length of training was chosen by: of the
            validation part, or the mean of the folds, weighted by their positives.
        how: How length and calibration were found, for the record.
        observations: What the observer saw.
    """

    fitted: FittedNetwork
    fit_index: IntArray
    calibration_index: IntArray
    calibration_logits: FloatArray
    validation_average_precision: float
    how: dict[str, Any]
    observations: tuple[Observation, ...] = ()


def fit(rows: FeatureRows, settings: FitSettings) -> Trained:
    """Fit by the validation part, or by folds where positives are few."""
    if has_few_positives(rows, settings.few_positives):
        return _fit_across_folds(rows, settings)
    return _fit_with_validation(rows, settings)


def has_few_positives(rows: FeatureRows, bound: int) -> bool:
    """Return whether validation and calibration part hold fewer positives than a bound."""
    held_back = rows.index("validation", "calibration")
    return int(rows.arrays.label[held_back].sum()) < bound


def as_arrays(table: pl.DataFrame, feature_set: FeatureSet) -> LabelledArrays:
    """Return a feature table as what networks learn from."""
    encoded = feature_set.encode(table)
    label = table["label"].to_numpy().astype(np.int8)
    return LabelledArrays(encoded.numeric, encoded.categorical, label)


def rows_of(table: pl.DataFrame, *parts: str) -> IntArray:
    """Return the row numbers of some parts, in order."""
    return np.flatnonzero(table["part"].is_in(parts).fill_null(value=False).to_numpy())


def _fit_with_validation(rows: FeatureRows, settings: FitSettings) -> Trained:
    fitted = settings.strategy.fit(
        rows.part("train"),
        validation=rows.part("validation"),
        cardinalities=rows.feature_set.cardinalities,
        seed=settings.seed,
        device=settings.device,
        on_epoch=settings.reporter("training"),
        observer=settings.observer,
    )
    trace, reached = fitted.trace, max(each.average_precision for each in fitted.trace.evaluations)
    if settings.strategy.retrains_head:
        # The trace is of the network before its head was fitted again.
        validation = rows.part("validation")
        reached = average_precision(validation.label, fitted.logits(validation)[:, 1])
    return Trained(
        fitted,
        fit_index=rows.index("train"),
        calibration_index=rows.index("calibration"),
        calibration_logits=fitted.logits(rows.part("calibration")),
        validation_average_precision=reached,
        how={"by": "validation part", "epochs": trace.epochs},
        observations=trace.observations,
    )


def _fit_across_folds(rows: FeatureRows, settings: FitSettings) -> Trained:
    cardinalities = rows.feature_set.cardinalities
    usable, folds = rows.folds(settings.n_folds, seed=settings.seed)
    known = rows.arrays.take(usable)
    crossed = cross_fit(
        settings.strategy,
        known,
        [(fold.fit_index, fold.holdout_index) for fold in folds],
        cardinalities=cardinalities,
        seed=settings.seed,
        device=settings.device,
        on_epoch=settings.fold_reporter(len(folds)),
        observer=settings.observer,
    )
    fitted = refit(
        settings.strategy,
        known,
        crossed,
        cardinalities=cardinalities,
        seed=settings.seed,
        device=settings.device,
        on_epoch=settings.reporter("all rows"),
    )
    positives = [int(known.label[fold.holdout_index].sum()) for fold in folds]
    return Trained(
        fitted,
        fit_index=usable,
        calibration_index=usable[crossed.holdout_index],
        calibration_logits=crossed.oof_logits,
        validation_average_precision=float(
            np.average(crossed.average_precisions, weights=positives)
        ),
        how={
            "by": f"{len(folds)} folds, then all rows",
            "epochs": crossed.n_epochs,
            "fold_average_precision": list(crossed.average_precisions),
        },
        observations=crossed.observations,
    )

"""Training: from a feature table to an ONNX network and the logits a policy is fitted on.

With enough positives the network stops early on the validation part and the calibration part
calibrates it. With few, both come from folds over all rows that are not test rows, and the
network is fitted again on all of them, so that it has seen the newest labelled rows.
"""

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from balancing.cross_fitting import OnFoldEpoch, cross_fit, refit
from balancing.dataset import IntArray, LabelledArrays
from balancing.export import export_onnx
from balancing.inference import FloatArray, OnnxModel
from balancing.networks.head import linear_head
from balancing.strategies.registry import build_strategy
from balancing.strategies.strategy import Device, FittedNetwork, Strategy
from balancing.training import EpochRecord
from features.contract import Contract
from features.feature_set import FeatureSet
from features.folds import make_folds
from flows.featurization import read_features
from flows.kept_rows import (
    calibration_frame,
    row_digests,
    segment_columns,
    write_calibration,
    write_fitted_rows,
    write_training_segments,
)
from flows.run_config import RunConfig
from flows.run_folder import RunFolder, write_json

logger = logging.getLogger(__name__)

OnProgress = Callable[[str, EpochRecord], None]
"""What is being fitted ("fold 2 of 4"), and how far it is."""

_N_PARITY_PER_CLASS = 500


@dataclass(frozen=True, slots=True)
class Trained:
    """A fitted network and the rows that calibrate it.

    Attributes:
        fitted: The network.
        fit_index: Rows of the feature table that it was fitted on.
        calibration_index: Rows of the feature table that calibrate it.
        calibration_logits: Their logits, ``(n_rows, 2)``: of the calibration part, or out of fold.
        how: How length and calibration were found, for the record.
    """

    fitted: FittedNetwork
    fit_index: IntArray
    calibration_index: IntArray
    calibration_logits: FloatArray
    how: dict[str, Any]


def train_network(
    feature_folder: Path,
    config: RunConfig,
    run: RunFolder,
    *,
    device: Device = "auto",
    on_progress: OnProgress | None = None,
) -> None:
    """Fit a network and write it, its calibration logits and its history to the run's folder."""
    table, feature_set = read_features(feature_folder)
    arrays = as_arrays(table, feature_set)
    settings = _FitSettings(
        build_strategy(config.strategy), feature_set.cardinalities, config, device, on_progress
    )
    trained = _fit(table, arrays, feature_set, settings)
    sha256 = export_onnx(
        trained.fitted.network,
        run.onnx,
        n_numeric=len(feature_set.numeric),
        n_categorical=len(feature_set.categorical),
    )
    _write_kept_rows(run, table, feature_set.contract, trained)
    if feature_set.contract.event_time_column is None:
        seen = arrays.take(_judged_on(table, trained))
        write_fitted_rows(run.fitted_rows, row_digests(seen.numeric, seen.categorical))
    _write_trained_logits(run, table, arrays, trained)
    record = _record(run, arrays, trained, config, sha256) | _periods(table, trained)
    write_json(run.training, record)
    logger.info("network trained", extra={"sha256": sha256, "how": trained.how["by"]})


def as_arrays(table: pl.DataFrame, feature_set: FeatureSet) -> LabelledArrays:
    """Return a feature table as what networks learn from."""
    encoded = feature_set.encode(table)
    label = table["label"].to_numpy().astype(np.int8)
    return LabelledArrays(encoded.numeric, encoded.categorical, label)


def rows_of(table: pl.DataFrame, *parts: str) -> IntArray:
    """Return the row numbers of some parts, in order."""
    return np.flatnonzero(table["part"].is_in(parts).fill_null(value=False).to_numpy())


def _fit(
    table: pl.DataFrame, arrays: LabelledArrays, feature_set: FeatureSet, settings: "_FitSettings"
) -> Trained:
    held_back = rows_of(table, "validation", "calibration")
    if int(arrays.label[held_back].sum()) < settings.config.few_positives:
        return _fit_across_folds(table, arrays, feature_set, settings)
    return _fit_with_validation(table, arrays, settings)


@dataclass(frozen=True, slots=True)
class _FitSettings:
    strategy: Strategy
    cardinalities: tuple[int, ...]
    config: RunConfig
    device: Device
    on_progress: OnProgress | None

    def reporter(self, stage: str) -> Callable[[EpochRecord], None] | None:
        report = self.on_progress
        return None if report is None else lambda record: report(stage, record)

    def fold_reporter(self, n_folds: int) -> OnFoldEpoch | None:
        report = self.on_progress
        if report is None:
            return None
        return lambda number, record: report(f"fold {number + 1} of {n_folds}", record)


def _fit_with_validation(
    table: pl.DataFrame, arrays: LabelledArrays, settings: _FitSettings
) -> Trained:
    train, calibration = rows_of(table, "train"), rows_of(table, "calibration")
    fitted = settings.strategy.fit(
        arrays.take(train),
        validation=arrays.take(rows_of(table, "validation")),
        cardinalities=settings.cardinalities,
        seed=settings.config.seed,
        device=settings.device,
        on_epoch=settings.reporter("training"),
    )
    logits = fitted.logits(arrays.take(calibration))
    how = {"by": "validation part", "epochs": fitted.trace.epochs}
    return Trained(fitted, train, calibration, logits, how)


def _fit_across_folds(
    table: pl.DataFrame, arrays: LabelledArrays, feature_set: FeatureSet, settings: _FitSettings
) -> Trained:
    config, contract = settings.config, feature_set.contract
    usable = rows_of(table, "train", "validation", "calibration")
    known = arrays.take(usable)
    folds = make_folds(
        table[usable],
        contract.split,
        label_delay=contract.label.delay,
        n_folds=config.n_folds,
        seed=config.seed,
    )
    crossed = cross_fit(
        settings.strategy,
        known,
        [(fold.fit_index, fold.holdout_index) for fold in folds],
        cardinalities=settings.cardinalities,
        seed=config.seed,
        device=settings.device,
        on_epoch=settings.fold_reporter(len(folds)),
    )
    fitted = refit(
        settings.strategy,
        known,
        crossed,
        cardinalities=settings.cardinalities,
        seed=config.seed,
        device=settings.device,
        on_epoch=settings.reporter("all rows"),
    )
    how = {
        "by": f"{len(folds)} folds, then all rows",
        "epochs": crossed.n_epochs,
        "fold_average_precision": list(crossed.average_precisions),
    }
    return Trained(fitted, usable, usable[crossed.holdout_index], crossed.oof_logits, how)


def _write_kept_rows(
    run: RunFolder, table: pl.DataFrame, contract: Contract, trained: Trained
) -> None:
    half = trained.calibration_logits[:, 1]
    rows, columns = table[trained.calibration_index], segment_columns(table, contract)
    kept = calibration_frame(rows, contract, columns, np.stack([-half, half], axis=1))
    write_calibration(run.calibration, kept)
    write_training_segments(run.training_segments, table[trained.fit_index], columns)


def _judged_on(table: pl.DataFrame, trained: Trained) -> IntArray:
    """Return the rows that the network was fitted on, or the length of its training chosen by."""
    return np.union1d(trained.fit_index, rows_of(table, "validation"))


def _periods(table: pl.DataFrame, trained: Trained) -> dict[str, str | None]:
    """Return the newest time that the network was fitted or stopped on, and the oldest of test."""
    fitted = table["event_time"][_judged_on(table, trained)].max()
    test = table["event_time"][rows_of(table, "test")].min()
    moments = {"fitted_until": fitted, "test_from": test}
    return {
        name: moment.isoformat() if isinstance(moment, datetime) else None
        for name, moment in moments.items()
    }


def _write_trained_logits(
    run: RunFolder, table: pl.DataFrame, arrays: LabelledArrays, trained: Trained
) -> None:
    """Keep what the network said before export, for the parity gates of the release."""
    chosen = _newest_of_each_class(arrays.label, trained.fit_index)
    logits = trained.fitted.logits(arrays.take(chosen))
    table[chosen].select("row_id", "label").with_columns(
        logit_negative=logits[:, 0], logit_positive=logits[:, 1]
    ).write_parquet(run.trained_logits)


def _newest_of_each_class(label: NDArray[np.int8], index: IntArray) -> IntArray:
    chosen = [index[label[index] == value][-_N_PARITY_PER_CLASS:] for value in (0, 1)]
    return np.sort(np.concatenate(chosen))


def _record(
    run: RunFolder, arrays: LabelledArrays, trained: Trained, config: RunConfig, sha256: str
) -> dict[str, Any]:
    fit_rows = arrays.take(trained.fit_index)
    logits = OnnxModel(run.onnx, threads=2).logits(fit_rows.numeric, fit_rows.categorical)
    trace, head = trained.fitted.trace, linear_head(trained.fitted.network)
    return {
        "config": config.model_dump(mode="json"),
        "how": trained.how,
        "model_sha256": sha256,
        "class_counts": fit_rows.class_counts.tolist(),
        "mean_logits": logits.mean(axis=0, dtype=np.float64).tolist(),
        "head": None if head is None else head.model_dump(mode="json"),
        "seconds": trace.seconds,
        "history": [asdict(record) for record in trace.records],
    }

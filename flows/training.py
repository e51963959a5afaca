"""Training: from a feature table to an ONNX model and the logits a policy is fitted on."""

import hashlib
import logging
from dataclasses import asdict
from datetime import datetime
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from balancing.dataset import IntArray, LabelledArrays
from balancing.export import onnx_bytes
from balancing.inference import OnnxModel
from balancing.memorisation import memorisation_of
from balancing.networks.head import linear_head
from balancing.rivals.lightgbm import LightGbmConfig
from balancing.rivals.xgboost import XgBoostConfig
from balancing.strategies.registry import StrategyConfig, build_strategy
from balancing.strategies.strategy import Device
from balancing.training_trace import Observation
from features.feature_set import FeatureArrays
from flows.featurization import read_features
from flows.fitted_model import FittedModel
from flows.fitting import FeatureRows, FitSettings, OnProgress, fit, rows_of
from flows.kept_rows import (
    calibration_frame,
    row_digests,
    segment_columns,
    write_calibration,
    write_fitted_rows,
    write_reference,
    write_training_segments,
)
from flows.registration.config import RegisteredConfig
from flows.registration.registering import take_registered
from flows.run_config import RunConfig
from flows.run_folder import RunFolder, write_json
from flows.tree_training import fit_trees
from infra.storage import write_atomically

logger = logging.getLogger(__name__)

_N_PARITY_PER_CLASS = 500


def train_model(
    feature_folder: Path,
    config: RunConfig,
    run: RunFolder,
    *,
    device: Device = "auto",
    on_progress: OnProgress | None = None,
) -> None:
    """Fit a model and write it, its calibration logits and its history to the run's folder."""
    rows = FeatureRows.of(*read_features(feature_folder))
    table, arrays, contract = rows.table, rows.arrays, rows.contract
    model = _fitted(rows, config, device=device, on_progress=on_progress)
    with write_atomically(run.onnx) as staging:
        staging.write_bytes(model.onnx)
    _write_kept_rows(run, rows, model)
    if contract.event_time_column is None:
        seen = arrays.take(_judged_on(table, model))
        write_fitted_rows(run.fitted_rows, row_digests(seen.numeric, seen.categorical))
    _write_trained_logits(run, table, arrays, model)
    record = _record(run, arrays, model, config) | _periods(table, model)
    write_json(run.training, record)
    facts = {"sha256": record["model_sha256"], "how": model.how["by"]}
    logger.info("model trained", extra=facts)


def _fitted(
    rows: FeatureRows, config: RunConfig, *, device: Device, on_progress: OnProgress | None
) -> FittedModel:
    """Return what the configuration asks for: a network, trees, or a model made elsewhere."""
    strategy = config.strategy
    if isinstance(strategy, RegisteredConfig):
        return take_registered(rows, strategy)
    if isinstance(strategy, LightGbmConfig | XgBoostConfig):
        return fit_trees(
            rows,
            strategy,
            seed=config.seed,
            few_positives=config.few_positives,
            n_folds=config.n_folds,
        )
    return _fit_network(rows, strategy, config, device=device, on_progress=on_progress)


def _fit_network(
    rows: FeatureRows,
    strategy: StrategyConfig,
    config: RunConfig,
    *,
    device: Device,
    on_progress: OnProgress | None,
) -> FittedModel:
    settings = FitSettings(
        build_strategy(strategy),
        seed=config.seed,
        few_positives=config.few_positives,
        n_folds=config.n_folds,
        device=device,
        on_progress=on_progress,
        observer=memorisation_of,
    )
    trained = fit(rows, settings)
    fitted, half = trained.fitted, trained.calibration_logits[:, 1]
    return FittedModel(
        onnx=onnx_bytes(
            fitted.network,
            n_numeric=len(rows.feature_set.numeric),
            n_categorical=len(rows.feature_set.categorical),
        ),
        logits=fitted.logits,
        fit_index=trained.fit_index,
        calibration_index=trained.calibration_index,
        calibration_logits=np.stack([-half, half], axis=1),
        how=trained.how,
        seconds=fitted.trace.seconds,
        head=linear_head(fitted.network),
        notes=fitted.trace.notes,
        history=tuple(asdict(record) for record in fitted.trace.records),
        memorisation=tuple(_observed(observation) for observation in trained.observations),
    )


def _write_kept_rows(run: RunFolder, rows: FeatureRows, model: FittedModel) -> None:
    table, contract, held_out = rows.table, rows.contract, model.calibration_index
    columns = segment_columns(table, contract)
    kept = calibration_frame(table[held_out], contract, columns, model.calibration_logits)
    write_calibration(run.calibration, kept)
    write_training_segments(run.training_segments, table[model.fit_index], columns)
    features = FeatureArrays(rows.arrays.numeric[held_out], rows.arrays.categorical[held_out])
    write_reference(run.reference, features, rows.feature_set)


def _judged_on(table: pl.DataFrame, model: FittedModel) -> IntArray:
    """Return the rows that the model was fitted on, or the length of its training chosen by."""
    return np.union1d(model.fit_index, rows_of(table, "validation"))


def _periods(table: pl.DataFrame, model: FittedModel) -> dict[str, str | None]:
    """Return the newest time that the model was fitted or stopped on, and the oldest of test."""
    fitted = table["event_time"][_judged_on(table, model)].max()
    test = table["event_time"][rows_of(table, "test")].min()
    moments = {"fitted_until": fitted, "test_from": test}
    return {
        name: moment.isoformat() if isinstance(moment, datetime) else None
        for name, moment in moments.items()
    }


def _write_trained_logits(
    run: RunFolder, table: pl.DataFrame, arrays: LabelledArrays, model: FittedModel
) -> None:
    """Keep what the model said before export, for the parity gates of the release."""
    chosen = _newest_of_each_class(arrays.label, model.fit_index)
    logits = model.logits(arrays.take(chosen))
    table[chosen].select("row_id", "label").with_columns(
        logit_negative=logits[:, 0], logit_positive=logits[:, 1]
    ).write_parquet(run.trained_logits)


def _newest_of_each_class(label: NDArray[np.int8], index: IntArray) -> IntArray:
    chosen = [index[label[index] == value][-_N_PARITY_PER_CLASS:] for value in (0, 1)]
    return np.sort(np.concatenate(chosen))


def _record(
    run: RunFolder, arrays: LabelledArrays, model: FittedModel, config: RunConfig
) -> dict[str, Any]:
    fit_rows = arrays.take(model.fit_index)
    logits = OnnxModel(run.onnx, threads=2).logits(fit_rows.numeric, fit_rows.categorical)
    return {
        "config": config.model_dump(mode="json"),
        "how": model.how,
        "model_sha256": hashlib.sha256(model.onnx).hexdigest(),
        "class_counts": fit_rows.class_counts.tolist(),
        "mean_logits": logits.mean(axis=0, dtype=np.float64).tolist(),
        "head": None if model.head is None else model.head.model_dump(mode="json"),
        "seconds": model.seconds,
        "notes": list(model.notes),
        "history": list(model.history),
        "memorisation": list(model.memorisation),
    }


def _observed(observation: Observation) -> dict[str, float | None]:
    """Return an observation as JSON has it: ``None`` where there is no number."""
    values = {
        name: value if isfinite(value) else None for name, value in observation.values.items()
    }
    return {"epochs": observation.epochs, **values}

"""Training: from a feature table to an ONNX network and the logits a policy is fitted on."""

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
from balancing.export import export_onnx
from balancing.inference import OnnxModel
from balancing.memorisation import memorisation_of
from balancing.networks.head import linear_head
from balancing.strategies.registry import build_strategy
from balancing.strategies.strategy import Device
from balancing.training_trace import Observation
from features.contract import Contract
from flows.featurization import read_features
from flows.fitting import FeatureRows, FitSettings, OnProgress, Trained, fit, rows_of
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

_N_PARITY_PER_CLASS = 500


def train_network(
    feature_folder: Path,
    config: RunConfig,
    run: RunFolder,
    *,
    device: Device = "auto",
    on_progress: OnProgress | None = None,
) -> None:
    """Fit a network and write it, its calibration logits and its history to the run's folder."""
    rows = FeatureRows.of(*read_features(feature_folder))
    table, arrays, feature_set = rows.table, rows.arrays, rows.feature_set
    settings = FitSettings(
        build_strategy(config.strategy),
        seed=config.seed,
        few_positives=config.few_positives,
        n_folds=config.n_folds,
        device=device,
        on_progress=on_progress,
        observer=memorisation_of,
    )
    trained = fit(rows, settings)
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
        "notes": list(trace.notes),
        "history": [asdict(record) for record in trace.records],
        "memorisation": [_observed(observation) for observation in trained.observations],
    }


def _observed(observation: Observation) -> dict[str, float | None]:
    """Return an observation as JSON has it: ``None`` where there is no number."""
    values = {
        name: value if isfinite(value) else None for name, value in observation.values.items()
    }
    return {"epochs": observation.epochs, **values}

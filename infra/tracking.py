"""Experiments and the model registry; the only module that imports MLflow.

One writer: the process that runs the pipeline. Metrics go in batches, models as ONNX without
pickles. The service never reads any of this, so scoring stays up when the registry is down.
"""

import json
import logging
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import onnx
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema, TensorSpec
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from infra.errors import InputError
from infra.settings import Settings

logger = logging.getLogger(__name__)

# MLflow refuses longer values.
_MAX_PARAM_CHARACTERS = 6000
_MAX_NAME_CHARACTERS = 250
_NOT_IN_A_PARAM_NAME = re.compile(r"[^\w\-. :/]", re.ASCII)
_MAX_DIGEST_CHARACTERS = 36
_BATCH = 100


class TrackingUnavailable(InputError):
    """Raised when the MLflow store cannot be reached or written."""


@dataclass(frozen=True, slots=True)
class TrackedDataset:
    """A table as MLflow records it: where it was, and the SHA-256 that identifies it."""

    name: str
    uri: str
    sha256: str
    context: str
    facts: Mapping[str, str]


class Tracking:
    """A connection to one MLflow store.

    Args:
        uri: Tracking and registry URI, for example ``sqlite:////srv/whitecrow/mlflow.db``.
        artifact_root: Folder or URL for artifacts of experiments that do not exist yet.

    Raises:
        TrackingUnavailable: If the store cannot be opened.
    """

    def __init__(self, uri: str, *, artifact_root: Path) -> None:
        self.uri = uri
        self._artifact_root = artifact_root
        if uri.startswith("sqlite:///"):
            _make_parent(Path(uri.removeprefix("sqlite:///")))
        mlflow.set_tracking_uri(uri)
        mlflow.set_registry_uri(uri)
        self.client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)

    def start_run(self, experiment: str, *, run_name: str, tags: Mapping[str, str]) -> str:
        """Open a run in an experiment, which is created when it does not exist."""
        try:
            found = self.client.get_experiment_by_name(experiment)
            experiment_id = (
                found.experiment_id
                if found
                else self.client.create_experiment(
                    experiment, artifact_location=self._artifact_root.resolve().as_uri()
                )
            )
            run = self.client.create_run(experiment_id, run_name=run_name, tags=dict(tags))
        except MlflowException as error:
            raise TrackingUnavailable(
                f"MLflow at {self.uri} does not answer: {error}. "
                "Start it, or unset WHITECROW_TRACKING_URI to use the state folder."
            ) from None
        run_id: str = run.info.run_id
        return run_id

    def start_child(self, parent_id: str, *, run_name: str, tags: Mapping[str, str]) -> str:
        """Open a run below another one, in its experiment."""
        experiment_id = self.client.get_run(parent_id).info.experiment_id
        run = self.client.create_run(
            experiment_id, run_name=run_name, tags={**tags, MLFLOW_PARENT_RUN_ID: parent_id}
        )
        run_id: str = run.info.run_id
        return run_id

    def finish_run(self, run_id: str, *, status: str) -> None:
        """Close a run as ``FINISHED``, ``FAILED`` or ``KILLED``."""
        self.client.set_terminated(run_id, status=status)

    def log_config(self, run_id: str, config: Mapping[str, Any]) -> None:
        """Log nested configuration: dotted parameters, and the whole as ``config.json``."""
        values = {_param_name(key): str(value) for key, value in _flatten(config)}
        params = [Param(key, value[:_MAX_PARAM_CHARACTERS]) for key, value in values.items()]
        for start in range(0, len(params), _BATCH):
            self.client.log_batch(run_id, params=params[start : start + _BATCH])
        self.log_json(run_id, config, "config.json")

    def log_metrics(self, run_id: str, metrics: Mapping[str, float], *, step: int = 0) -> None:
        """Log metrics of one step; values that are not finite are left out."""
        now = _now_ms()
        finite = {name: value for name, value in metrics.items() if np.isfinite(value)}
        batch = [Metric(name, float(value), now, step) for name, value in finite.items()]
        if batch:
            self.client.log_batch(run_id, metrics=batch)

    def log_history(self, run_id: str, history: Sequence[Mapping[str, float]]) -> None:
        """Log one metric value a step for each record of a training history."""
        now = _now_ms()
        metrics = [
            Metric(name, float(value), now, step)
            for step, record in enumerate(history, start=1)
            for name, value in record.items()
            if np.isfinite(value)
        ]
        for start in range(0, len(metrics), 10 * _BATCH):
            self.client.log_batch(run_id, metrics=metrics[start : start + 10 * _BATCH])

    def log_datasets(self, run_id: str, datasets: Sequence[TrackedDataset]) -> None:
        """Log which data a run used; the whole SHA-256 stands in the input's tags."""
        inputs = [
            DatasetInput(
                Dataset(
                    name=data.name,
                    digest=data.sha256[:_MAX_DIGEST_CHARACTERS],
                    source_type="local",
                    source=json.dumps({"uri": data.uri}),
                    profile=json.dumps(dict(data.facts)),
                ),
                [InputTag("mlflow.data.context", data.context), InputTag("sha256", data.sha256)],
            )
            for data in datasets
        ]
        self.client.log_inputs(run_id, inputs)

    def log_json(self, run_id: str, value: Any, name: str) -> None:
        """Store a JSON artifact under ``name``."""
        text = json.dumps(value, indent=2, sort_keys=True, default=str, ensure_ascii=False)
        self.client.log_text(run_id, text, name)

    def log_file(self, run_id: str, path: Path, folder: str | None = None) -> None:
        """Store one file as an artifact."""
        self.client.log_artifact(run_id, str(path), folder)

    def log_folder(self, run_id: str, path: Path, folder: str) -> None:
        """Store the files of a folder as artifacts."""
        self.client.log_artifacts(run_id, str(path), folder)

    def log_onnx(self, run_id: str, path: Path, *, n_numeric: int, n_categorical: int) -> str:
        """Log an ONNX model with its signature; returns the model's URI."""
        with mlflow.start_run(run_id=run_id):
            info = mlflow.onnx.log_model(
                onnx.load(path),
                name="model",
                signature=_signature(n_numeric, n_categorical),
                onnx_execution_providers=["CPUExecutionProvider"],
                save_as_external_data=False,
                pip_requirements=["onnxruntime"],
            )
        uri: str = info.model_uri
        return uri

    def register(
        self, name: str, *, model_uri: str, run_id: str, description: str, tags: Mapping[str, str]
    ) -> str:
        """Register a model version and return its number as text."""
        try:
            self.client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        version = self.client.create_model_version(
            name, source=model_uri, run_id=run_id, description=description, tags=dict(tags)
        )
        return str(version.version)

    def describe_model(self, name: str, description: str) -> None:
        """Set the text that heads a registered model in MLflow's pages."""
        self.client.update_registered_model(name, description)

    def discard_version(self, name: str, version: str) -> None:
        """Take back a version whose release did not complete."""
        self.client.delete_model_version(name, version)

    def tag_version(self, name: str, version: str, tags: Mapping[str, str]) -> None:
        """Set tags on a model version."""
        for key, value in tags.items():
            self.client.set_model_version_tag(name, version, key, value)

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """Point an alias at a version; a mirror of the live record, never its source."""
        self.client.set_registered_model_alias(name, alias, version)

    def drop_alias(self, name: str, alias: str) -> None:
        """Let an alias point at nothing, as the live record does."""
        self.client.delete_registered_model_alias(name, alias)


def open_tracking(settings: Settings) -> Tracking:
    """Return a connection to the store that the settings name."""
    return Tracking(settings.mlflow_uri, artifact_root=settings.root / "mlartifacts")


def _now_ms() -> int:
    return int(time.time() * 1000)


def _make_parent(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrackingUnavailable(
            f"Cannot write the state folder {path.parent}: {error}. Set WHITECROW_HOME."
        ) from None


def _param_name(key: str) -> str:
    """Return a key as MLflow takes it; what the key really is stands in ``config.json``.

    Example:
        >>> _param_name("expectations.Amount (EUR).min")
        'expectations.Amount _EUR_.min'
    """
    return _NOT_IN_A_PARAM_NAME.sub("_", key)[:_MAX_NAME_CHARACTERS]


def _flatten(config: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Return dotted keys with their values; lists stay whole, as JSON.

    Example:
        >>> _flatten({"a": {"b": 1}, "c": [1, 2]})
        [('a.b', 1), ('c', '[1, 2]')]
    """
    found: list[tuple[str, Any]] = []
    for key, value in config.items():
        if isinstance(value, Mapping):
            found += _flatten(value, f"{prefix}{key}.")
        else:
            text = json.dumps(value, default=str) if isinstance(value, list | tuple) else value
            found.append((f"{prefix}{key}", text))
    return found


def _signature(n_numeric: int, n_categorical: int) -> ModelSignature:
    inputs: list[ColSpec | TensorSpec] = [
        TensorSpec(np.dtype("float32"), (-1, n_numeric), "numeric")
    ]
    if n_categorical:
        inputs.append(TensorSpec(np.dtype("int64"), (-1, n_categorical), "categorical"))
    outputs: list[ColSpec | TensorSpec] = [TensorSpec(np.dtype("float32"), (-1, 2), "logits")]
    return ModelSignature(inputs=Schema(inputs), outputs=Schema(outputs))

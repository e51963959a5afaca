"""Experiments: runs with what is logged to them, and the registry below them in the same store.

Only this module and :mod:`infra.tracking_registry` import MLflow.

One writer: the process that runs the pipeline. Metrics go in batches, models as ONNX without
pickles. The service never reads any of this, so scoring stays up when the registry is down.
"""

import json
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import onnx
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema, TensorSpec
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from infra.settings import Settings
from infra.tracked import (
    MAX_DIGEST_CHARACTERS,
    MAX_PARAM_CHARACTERS,
    TrackedDataset,
    flatten,
    param_name,
)
from infra.tracking_answers import (
    TrackingUnavailable,
    answered,
    be_patient,
    is_without_answer,
    unavailable,
    without_credentials,
)
from infra.tracking_registry import Registry

__all__ = ["MlflowException", "Tracking", "open_tracking"]

_BATCH = 100


class Tracking(Registry):
    """A connection to one MLflow store: its runs, and its registry.

    Whatever is asked of a server that does not answer ends as ``TrackingUnavailable``.

    Args:
        uri: Tracking and registry URI, for example ``sqlite:////srv/whitecrow/mlflow.db``.
        artifact_root: Folder for artifacts of experiments that do not exist yet; a server finds a
            place for them itself.

    Raises:
        TrackingUnavailable: If the store cannot be opened.
    """

    def __init__(self, uri: str, *, artifact_root: Path) -> None:
        is_server = uri.startswith(("http://", "https://"))
        # A folder of this machine means nothing to a server, and its pages could not show it.
        self._artifact_location = None if is_server else artifact_root.resolve().as_uri()
        be_patient()
        if uri.startswith("sqlite:///"):
            _make_parent(Path(uri.removeprefix("sqlite:///")))
        mlflow.set_tracking_uri(uri)
        mlflow.set_registry_uri(uri)
        super().__init__(uri, mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri))

    def start_run(self, experiment: str, *, run_name: str, tags: Mapping[str, str]) -> str:
        """Open a run in an experiment, which is created when it does not exist."""
        try:
            found = self.client.get_experiment_by_name(experiment)
            experiment_id = (
                found.experiment_id
                if found
                else self.client.create_experiment(experiment, self._artifact_location)
            )
            run = self.client.create_run(experiment_id, run_name=run_name, tags=dict(tags))
        except MlflowException as error:
            way_out = "Start it, or unset WHITECROW_TRACKING_URI to use the state folder."
            raise unavailable(self.uri, error, way_out=way_out) from None
        run_id: str = run.info.run_id
        return run_id

    @answered
    def reopen_run(self, run_id: str) -> None:
        """Let a run that ended early, or whose process died, be running again.

        Raises:
            TrackingUnavailable: If the store does not answer, or has no such run.
        """
        try:
            self.client.update_run(run_id, status="RUNNING")
        except MlflowException as error:
            if is_without_answer(error):
                raise
            shown = without_credentials(self.uri)
            raise TrackingUnavailable(
                f"MLflow at {shown} cannot go on with run {run_id}: {error}. Begin anew."
            ) from None

    @answered
    def began_at_ms(self, run_id: str) -> int:
        """Return when a run was opened, in milliseconds since 1970."""
        began: int = self.client.get_run(run_id).info.start_time
        return began

    @answered
    def run_name(self, run_id: str) -> str:
        """Return the name that a run was opened under."""
        name: str = self.client.get_run(run_id).info.run_name
        return name

    @answered
    def run_tags(self, run_id: str) -> dict[str, str]:
        """Return the tags of a run."""
        return dict(self.client.get_run(run_id).data.tags)

    @answered
    def run_facts(self, run_id: str) -> dict[str, Any]:
        """Return what a run says of itself: experiment, name, status, moments and artifacts."""
        run = self.client.get_run(run_id)
        info = run.info
        return {
            "run_id": run_id,
            "experiment": self.client.get_experiment(info.experiment_id).name,
            "run_name": info.run_name,
            "status": info.status,
            "started_at": _iso(info.start_time),
            "ended_at": _iso(info.end_time),
            "artifacts": sorted(each.path for each in self.client.list_artifacts(run_id)),
        }

    @answered
    def tag_run(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags on a run, all of them or none."""
        self.client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])

    @answered
    def find_run(self, experiment: str, *, tag: str, value: str) -> str | None:
        """Return the newest run of an experiment whose tag has a value; None without one.

        Args:
            experiment: Its name; it may not exist.
            tag: Name of the tag.
            value: Letters and digits: it is part of a query.
        """
        found = self.client.get_experiment_by_name(experiment)
        if found is None:
            return None
        query = f"tags.`{tag}` = '{value}'"
        runs = self.client.search_runs([found.experiment_id], query, max_results=1)
        return str(runs[0].info.run_id) if runs else None

    @answered
    def start_child(self, parent_id: str, *, run_name: str, tags: Mapping[str, str]) -> str:
        """Open a run below another one, in its experiment."""
        experiment_id = self.client.get_run(parent_id).info.experiment_id
        run = self.client.create_run(
            experiment_id, run_name=run_name, tags={**tags, MLFLOW_PARENT_RUN_ID: parent_id}
        )
        run_id: str = run.info.run_id
        return run_id

    @answered
    def finish_run(self, run_id: str, *, status: str) -> None:
        """Close a run as ``FINISHED``, ``FAILED`` or ``KILLED``."""
        self.client.set_terminated(run_id, status=status)

    @answered
    def log_config(self, run_id: str, config: Mapping[str, Any]) -> None:
        """Log nested configuration: dotted parameters, and the whole as ``config.json``."""
        values = {param_name(key): str(value) for key, value in flatten(config)}
        params = [Param(key, value[:MAX_PARAM_CHARACTERS]) for key, value in values.items()]
        for start in range(0, len(params), _BATCH):
            self.client.log_batch(run_id, params=params[start : start + _BATCH])
        self.log_json(run_id, config, "config.json")

    @answered
    def log_metrics(
        self, run_id: str, metrics: Mapping[str, float], *, step: int = 0, at_ms: int | None = None
    ) -> None:
        """Log metrics of one step; values that are not finite are left out.

        Args:
            run_id: The run.
            metrics: Values by name.
            step: Of a history.
            at_ms: Their moment in milliseconds since 1970; default: now. The same value of the same
                moment logged again is there once.
        """
        at_ms = _now_ms() if at_ms is None else at_ms
        finite = {name: value for name, value in metrics.items() if np.isfinite(value)}
        batch = [Metric(name, float(value), at_ms, step) for name, value in finite.items()]
        if batch:
            self.client.log_batch(run_id, metrics=batch)

    @answered
    def log_history(
        self, run_id: str, history: Sequence[Mapping[str, float]], *, at_ms: int | None = None
    ) -> None:
        """Log one metric value a step for each record of a training history.

        ``at_ms`` is that of :meth:`log_metrics`.
        """
        at_ms = _now_ms() if at_ms is None else at_ms
        metrics = [
            Metric(name, float(value), at_ms, step)
            for step, record in enumerate(history, start=1)
            for name, value in record.items()
            if np.isfinite(value)
        ]
        for start in range(0, len(metrics), 10 * _BATCH):
            self.client.log_batch(run_id, metrics=metrics[start : start + 10 * _BATCH])

    @answered
    def log_datasets(self, run_id: str, datasets: Sequence[TrackedDataset]) -> None:
        """Log which data a run used; the whole SHA-256 stands in the input's tags."""
        inputs = [
            DatasetInput(
                Dataset(
                    name=data.name,
                    digest=data.sha256[:MAX_DIGEST_CHARACTERS],
                    source_type="local",
                    source=json.dumps({"uri": data.uri}),
                    profile=json.dumps(dict(data.facts)),
                ),
                [InputTag("mlflow.data.context", data.context), InputTag("sha256", data.sha256)],
            )
            for data in datasets
        ]
        self.client.log_inputs(run_id, inputs)

    @answered
    def log_json(self, run_id: str, value: Any, name: str) -> None:
        """Store a JSON artifact under ``name``."""
        text = json.dumps(value, indent=2, sort_keys=True, default=str, ensure_ascii=False)
        self.client.log_text(run_id, text, name)

    @answered
    def log_file(self, run_id: str, path: Path, folder: str | None = None) -> None:
        """Store one file as an artifact."""
        self.client.log_artifact(run_id, str(path), folder)

    @answered
    def log_folder(self, run_id: str, path: Path, folder: str) -> None:
        """Store the files of a folder as artifacts."""
        self.client.log_artifacts(run_id, str(path), folder)

    @answered
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


def open_tracking(settings: Settings) -> Tracking:
    """Return a connection to the store that the settings name."""
    return Tracking(settings.mlflow_uri, artifact_root=settings.root / "mlartifacts")


def _now_ms() -> int:
    return int(time.time() * 1000)


def _iso(milliseconds: int | None) -> str | None:
    if milliseconds is None:
        return None
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")


def _make_parent(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrackingUnavailable(
            f"Cannot write the state folder {path.parent}: {error}. Set WHITECROW_HOME."
        ) from None


def _signature(n_numeric: int, n_categorical: int) -> ModelSignature:
    inputs: list[ColSpec | TensorSpec] = [
        TensorSpec(np.dtype("float32"), (-1, n_numeric), "numeric")
    ]
    if n_categorical:
        inputs.append(TensorSpec(np.dtype("int64"), (-1, n_categorical), "categorical"))
    outputs: list[ColSpec | TensorSpec] = [TensorSpec(np.dtype("float32"), (-1, 2), "logits")]
    return ModelSignature(inputs=Schema(inputs), outputs=Schema(outputs))

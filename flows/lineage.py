"""Lineage: what a model was made from, written where an auditor will look for it."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from features.ingestion.tables import fingerprint
from flows.featurization import read_counts, read_features
from flows.request import TrainRequest
from flows.run_folder import RunFolder, read_json
from infra.revision import code_revision, environment
from infra.tracked import TrackedDataset
from infra.tracking import Tracking


def fingerprints(request: TrainRequest) -> list[dict[str, Any]]:
    """Return role, path, name, SHA-256, rows and columns of every source.

    Raises:
        DataError: If a source cannot be read.
    """
    sources = dict(request.sources)
    label = request.read_contract().label
    if label.source is not None:
        sources["labels"] = label.source
    return [
        {"role": role, "path": path, **asdict(fingerprint(path))} for role, path in sources.items()
    ]


def log_run(
    tracking: Tracking,
    request: TrainRequest,
    run: RunFolder,
    feature_folder: Path,
    sources: list[dict[str, Any]],
    *,
    run_id: str,
) -> None:
    """Log configuration, data, splits, metrics, plots, reports and environment to MLflow."""
    evaluation, training = read_json(run.evaluation), read_json(run.training)
    _, feature_set = read_features(feature_folder)
    tracking.log_config(
        run_id,
        {
            "request": request.model_dump(mode="json"),
            "contract": feature_set.contract.model_dump(mode="json"),
            "feature_table": feature_folder.name,
            "feature_set_hash": feature_set.hash,
            "how": training["how"],
        },
    )
    tracking.log_datasets(run_id, [_tracked(source) for source in sources])
    # One moment for all of them: where this is killed and runs again, none is there twice.
    at_ms = tracking.began_at_ms(run_id)
    counts = {f"rows_{name}": count for name, count in read_counts(feature_folder).items()}
    metrics = _metrics(evaluation["report"]["metrics"])
    tracking.log_metrics(run_id, metrics | counts, at_ms=at_ms)
    for records in (
        [_curve_point(record) for record in training["history"]],
        [_seen(record) for record in training["memorisation"]],
    ):
        tracking.log_history(run_id, records, at_ms=at_ms)
    tracking.log_json(
        run_id, environment() | {"code_revision": code_revision()}, "environment.json"
    )
    files = [run.report, run.validation_page, run.validation, run.evaluation, run.training]
    for path in [*files, *filter(Path.is_file, [run.search_record])]:
        tracking.log_file(run_id, path)
    for path in (run.parity, run.profile, run.policy):
        tracking.log_file(run_id, path)
    tracking.log_folder(run_id, run.plots, "plots")


def _tracked(source: dict[str, Any]) -> TrackedDataset:
    return TrackedDataset(
        name=source["name"],
        uri=source["path"],
        sha256=source["sha256"],
        context=source["role"],
        facts={"rows": str(source["rows"]), "columns": str(source["columns"])},
    )


def _metrics(metrics: dict[str, dict[str, float]]) -> dict[str, float]:
    """Return each metric and the ends of its interval under names of their own."""
    flat = {}
    for name, found in metrics.items():
        flat[f"test_{name}"] = found["value"]
        flat[f"test_{name}_low"], flat[f"test_{name}_high"] = found["low"], found["high"]
    return {name: value for name, value in flat.items() if value is not None}


def _curve_point(record: dict[str, Any]) -> dict[str, float]:
    kept = ("train_loss", "validation_average_precision")
    return {name: record[name] for name in kept if record[name] is not None}


def _seen(record: dict[str, Any]) -> dict[str, float]:
    """Return what was seen at one evaluation, under names of its own."""
    return {f"memorisation_{name}": value for name, value in record.items() if value is not None}

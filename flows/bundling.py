"""The bundle of a run, and the gates that show that serving equals training."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from features.benign import benign_reference
from features.splits import TRAIN
from flows.featurization import read_features
from flows.parity_rows import golden_rows, parity_rows, velocity_parity
from flows.recalibration import read_policy
from flows.request import TrainRequest
from flows.run_folder import RunFolder, read_json, write_json
from flows.run_lineage import write_lineage
from infra.revision import code_revision
from infra.storage import immutable_folder, sha256_file
from serving.bundle import BundleManifest, ModelBundle, read_bundle, write_bundle
from serving.parity import check_parity


def build_bundle(
    request: TrainRequest,
    feature_folder: Path,
    run: RunFolder,
    *,
    sources: Sequence[Mapping[str, Any]],
    run_id: str,
) -> ModelBundle:
    """Write the bundle into the run's folder, put it through the parity gates, and return it.

    Raises:
        ParityBroken: If serving would differ from training in any of the gates.
    """
    table, feature_set = read_features(feature_folder)
    sample, trained_logits = parity_rows(run, table, feature_set)
    training, policy = read_json(run.training), read_policy(run)
    write_lineage(request, feature_folder, run)
    manifest = BundleManifest(
        name=request.model_name,
        contract=feature_set.contract,
        feature_set=feature_set.to_json(),
        feature_set_hash=feature_set.hash,
        strategy=request.config.strategy.model_dump(mode="json"),
        training={key: training[key] for key in ("config", "how", "seconds")},
        metrics=read_json(run.evaluation)["report"]["metrics"],
        data=tuple(dict(source) for source in sources),
        code_revision=code_revision(),
        mlflow_run_id=run_id,
        created_at=datetime.now(UTC),
        class_counts=tuple(training["class_counts"]),
        mean_logits=tuple(training["mean_logits"]),
        head=training["head"],
        benign=benign_reference(table.filter(pl.col("part") == TRAIN), feature_set.contract),
        profile=read_json(run.profile),
        fitted_until=training["fitted_until"],
        test_from=training["test_from"],
        kept_files={path.name: sha256_file(path) for path in run.kept},
    )
    with immutable_folder(run.bundle) as staging:
        write_bundle(
            staging,
            model=run.onnx.read_bytes(),
            manifest=manifest,
            golden=golden_rows(run, feature_set, sample),
        )
    bundle = read_bundle(run.bundle)
    record = check_parity(
        bundle,
        policy,
        sample,
        trained_logits=trained_logits,
        velocity=velocity_parity(run, table, feature_set),
    )
    write_json(run.parity, record.to_json())
    record.require()
    return bundle

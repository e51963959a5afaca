"""Release: parity, registration, and the bundle and policy in their places.

The bundle is complete and its parity shown before the registry hears of it. A version whose
files do not arrive is taken back, so that nothing is ever half registered.
"""

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from features.benign import benign_reference
from features.splits import TRAIN
from flows.featurization import read_features
from flows.parity_rows import golden_rows, parity_rows, velocity_parity
from flows.policy_mirror import NEWEST_POLICY_TAG, policy_tag
from flows.promotion import PROMOTED, make_live, registry_mirror
from flows.recalibration import read_policy
from flows.request import TrainRequest
from flows.run_folder import RunFolder, read_json, write_json
from flows.signing import signing_key
from infra.ledger import Ledger
from infra.revision import code_revision
from infra.settings import Settings
from infra.signing import SigningKey
from infra.storage import immutable_folder, sha256_file
from infra.tracking import Tracking
from serving.bundle import BundleManifest, ModelBundle, read_bundle, write_bundle
from serving.live import CHALLENGER, LiveRecord
from serving.model_references import ResolvedModel
from serving.model_store import ModelStore
from serving.parity import check_parity

logger = logging.getLogger(__name__)

_N_GOLDEN = 64
_STAGED = "staged"
_REGISTERED = "registered"
STATE_TAG = "whitecrow.state"


@dataclass(frozen=True, slots=True)
class Released:
    """What a release made.

    Attributes:
        name: The model's name.
        version: Its version, in the registry and in the store.
        policy_version: Version of its policy.
        folder: Where the bundle lies.
        is_champion: Whether it answers requests; the first version of a name does.
    """

    name: str
    version: str
    policy_version: str
    folder: Path
    is_champion: bool


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


def release(
    request: TrainRequest,
    settings: Settings,
    tracking: Tracking,
    run: RunFolder,
    *,
    run_id: str,
    description: str,
) -> Released:
    """Register the run's bundle and policy as challenger; the first of a name becomes champion."""
    bundle, policy, name = read_bundle(run.bundle), read_policy(run), request.model_name
    store = ModelStore.open(settings)
    key = signing_key(settings, store, actor=request.actor)
    version = _register(tracking, run, bundle, run_id=run_id, description=description)
    try:
        store.keep(name, version, run.kept)
        _place(bundle, store, name, version, key)
    except BaseException:
        # Ctrl-C too: a version without its files must not stay in the registry.
        tracking.discard_version(name, version)
        raise
    policy_version = store.add_policy(name, policy, key=key)
    _announce(request, settings, store, ResolvedModel(name, version, policy_version), bundle)
    tags = {NEWEST_POLICY_TAG: policy_version, policy_tag(policy_version): run_id}
    tracking.tag_version(name, version, {STATE_TAG: _REGISTERED, **tags})
    tracking.set_alias(name, CHALLENGER, version)
    is_first = store.live.get(name) is None
    if is_first:
        make_live(
            settings,
            ResolvedModel(name, version, policy_version),
            PROMOTED,
            actor=request.actor,
            reason="first version of this name",
            mirror=registry_mirror(tracking),
        )
    return Released(name, version, policy_version, store.bundle_folder(name, version), is_first)


def _register(
    tracking: Tracking, run: RunFolder, bundle: ModelBundle, *, run_id: str, description: str
) -> str:
    feature_set = bundle.feature_set
    model_uri = tracking.log_onnx(
        run_id,
        run.onnx,
        n_numeric=len(feature_set.numeric),
        n_categorical=len(feature_set.categorical),
    )
    tags = {
        STATE_TAG: _STAGED,
        "whitecrow.model_sha256": bundle.model_sha256,
        "whitecrow.feature_set_hash": bundle.manifest.feature_set_hash,
        "whitecrow.code_revision": bundle.manifest.code_revision,
    }
    version = tracking.register(
        bundle.manifest.name, model_uri=model_uri, run_id=run_id, description=description, tags=tags
    )
    tracking.describe_model(bundle.manifest.name, _described(bundle))
    return version


def _described(bundle: ModelBundle) -> str:
    contract = bundle.contract
    return (
        f"Scores {contract.domain} under the contract **{contract.name}** "
        f"(label: {contract.label.column}). The champion answers requests; the challenger waits."
    )


def _place(
    bundle: ModelBundle, store: ModelStore, name: str, version: str, key: SigningKey
) -> None:
    with store.new_bundle(name, version, key=key) as staging:
        for file in bundle.folder.iterdir():
            shutil.copyfile(file, staging / file.name)


def _announce(
    request: TrainRequest,
    settings: Settings,
    store: ModelStore,
    model: ResolvedModel,
    bundle: ModelBundle,
) -> None:
    """Write the registration to the ledger and point the challenger record at it."""
    entry = Ledger(settings.database).append(
        "registered",
        model.name,
        actor=request.actor,
        reason=request.reason,
        details={
            "model_version": model.model_version,
            "policy_version": model.policy_version,
            "model_sha256": bundle.model_sha256,
            "mlflow_run_id": bundle.manifest.mlflow_run_id,
            "data": [fingerprint["sha256"] for fingerprint in bundle.manifest.data],
        },
    )
    challenger = LiveRecord(model.model_version, model.policy_version, entry.sequence)
    before = store.live.get(model.name, alias=CHALLENGER)
    store.live.compare_and_swap(model.name, before, challenger, alias=CHALLENGER)

"""The registry's side of a release: a version with its tags, registered once a run."""

from flows.run_folder import RunFolder
from infra.tracking import Tracking
from serving.bundle import ModelBundle
from serving.model_store import ModelStore

STATE_TAG = "whitecrow.state"
STAGED = "staged"
"""Of the state tag: the registry knows of the version, and nobody else does."""
REGISTERED_STATE = "registered"

_MODEL_SHA256_TAG = "whitecrow.model_sha256"
_MODEL_URI_TAG = "whitecrow.model_uri"


def staged_version(
    tracking: Tracking, store: ModelStore, name: str, bundle: ModelBundle, run_id: str
) -> str | None:
    """Return the version that a killed release of this run registered, if there is one."""
    for known in tracking.versions(name):
        if known.run_id != run_id:
            continue
        if known.tags.get(_MODEL_SHA256_TAG) == bundle.model_sha256:
            return known.version
        # The run was trained again since, and nobody has heard of what it made first.
        store.withdraw(name, known.version)
        tracking.discard_version(name, known.version)
    return None


def register_version(
    tracking: Tracking, run: RunFolder, bundle: ModelBundle, *, run_id: str, description: str
) -> str:
    """Log the run's model, unless it was logged before, and return the number of its version."""
    logged = tracking.run_tags(run_id)
    if logged.get(_MODEL_SHA256_TAG) != bundle.model_sha256:
        model_uri = tracking.log_onnx(
            run_id,
            run.onnx,
            n_numeric=len(bundle.feature_set.numeric),
            n_categorical=len(bundle.feature_set.categorical),
        )
        logged = {_MODEL_SHA256_TAG: bundle.model_sha256, _MODEL_URI_TAG: model_uri}
        tracking.tag_run(run_id, logged)
    tags = {
        STATE_TAG: STAGED,
        _MODEL_SHA256_TAG: bundle.model_sha256,
        "whitecrow.feature_set_hash": bundle.manifest.feature_set_hash,
        "whitecrow.code_revision": bundle.manifest.code_revision,
    }
    version = tracking.register(
        bundle.manifest.name,
        model_uri=logged[_MODEL_URI_TAG],
        run_id=run_id,
        description=description,
        tags=tags,
    )
    tracking.describe_model(bundle.manifest.name, _described(bundle))
    return version


def _described(bundle: ModelBundle) -> str:
    contract = bundle.contract
    return (
        f"Scores {contract.domain} under the contract **{contract.name}** "
        f"(label: {contract.label.column}). The champion answers requests; the challenger waits."
    )

"""Release: registration, and the bundle and policy in their places.

The bundle is complete and its parity shown before the registry hears of it. A version whose
files do not arrive is taken back, so that nothing is ever half registered. Every step looks first
at what is there: a release that was killed is finished by the same call, and doubles nothing.
"""

import contextlib
import logging
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from balancing.calibration.policy import Policy
from flows.interrupted_changes import finish_interrupted_change
from flows.left_versions import REGISTERED, withdraw_left_versions
from flows.policy_mirror import NEWEST_POLICY_TAG, policy_tag
from flows.promotion import PROMOTED, make_live, registry_mirror
from flows.provenance.mirror import mirror_versions
from flows.recalibration import read_policy
from flows.registry import REGISTERED_STATE, STATE_TAG, register_version, staged_version
from flows.request import TrainRequest
from flows.run_folder import RunFolder
from flows.signing import signing_key
from infra.errors import InputError
from infra.ledger import LedgerEntry, open_ledger
from infra.settings import Settings
from infra.signing import SigningKey
from infra.tracking import Tracking
from serving.bundle import ModelBundle, read_bundle
from serving.live import CHALLENGER, CHAMPION, LiveRecord, LiveRecordChanged
from serving.model_references import ResolvedModel
from serving.model_store import ModelStore

logger = logging.getLogger(__name__)


class VersionTaken(InputError):
    """Raised when a version's number or its run belongs to another model already."""


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


def release(
    request: TrainRequest,
    settings: Settings,
    tracking: Tracking,
    run: RunFolder,
    *,
    run_id: str,
    description: str,
) -> Released:
    """Register the run's bundle and policy as challenger; the first of a name becomes champion.

    Raises:
        VersionTaken: If the run has released another model, or the registry gives a number that
            the store has a bundle under.
    """
    bundle, name = read_bundle(run.bundle), request.model_name
    store = ModelStore.open(settings)
    entry = _announced(settings, name, bundle, run_id)
    if entry is None:
        withdraw_left_versions(settings, tracking, store, name, but=run_id)
        key = signing_key(settings, store, actor=request.actor)
        version = staged_version(tracking, store, name, bundle, run_id)
        if version is None:
            version = register_version(
                tracking, run, bundle, run_id=run_id, description=description
            )
        model = _placed(tracking, store, run, bundle, version=version, key=key)
        entry = _announce(request, settings, model, bundle)
    version, policy_version = entry.details["model_version"], entry.details["policy_version"]
    model = ResolvedModel(name, version, policy_version)
    is_challenger = _point_challenger(store, model, entry.sequence)
    tags = {NEWEST_POLICY_TAG: policy_version, policy_tag(policy_version): run_id}
    tracking.tag_version(name, version, {STATE_TAG: REGISTERED_STATE, **tags})
    if is_challenger:
        tracking.set_alias(name, CHALLENGER, version)
    mirror = registry_mirror(tracking, settings)
    if store.live.get(name) is None:
        reason = "first version of this name"
        make_live(settings, model, PROMOTED, actor=request.actor, reason=reason, mirror=mirror)
    else:
        finish_interrupted_change(settings, name, mirror)
    mirror_versions(settings, tracking, name, version)
    live = store.live.get(name)
    is_champion = live is not None and live.model_version == version
    return Released(name, version, policy_version, store.bundle_folder(name, version), is_champion)


def _placed(
    tracking: Tracking,
    store: ModelStore,
    run: RunFolder,
    bundle: ModelBundle,
    *,
    version: str,
    key: SigningKey,
) -> ResolvedModel:
    """Return a registered version with all its files and its policy, known to nobody yet."""
    name = bundle.manifest.name
    try:
        _place(bundle, store, run, version, key)
        return ResolvedModel(name, version, _policy_version(store, name, read_policy(run), key))
    except BaseException as failure:
        # Ctrl-C too: a version without its files must not stay in the registry.
        if not isinstance(failure, VersionTaken):
            store.withdraw(name, version)
        # Where the registry fails too, the first failure is the one to tell.
        with contextlib.suppress(Exception):
            tracking.discard_version(name, version)
        raise


def _policy_version(store: ModelStore, name: str, policy: Policy, key: SigningKey) -> str:
    """Return the version that a policy has, or gets."""
    for known in reversed(store.policy_versions(name)):
        if store.policy(name, known).policy_id == policy.policy_id:
            return known
    return store.add_policy(name, policy, key=key)


def _place(
    bundle: ModelBundle, store: ModelStore, run: RunFolder, version: str, key: SigningKey
) -> None:
    """Put bundle and kept files in their places, unless they are there."""
    name, run_id = bundle.manifest.name, bundle.manifest.mlflow_run_id
    if version in store.versions(name):
        manifest = store.bundle(name, version).manifest
        if (manifest.mlflow_run_id, manifest.files) != (run_id, bundle.manifest.files):
            raise VersionTaken(
                f"The registry calls the new version {name}:{version}, and that number has a "
                f"bundle of run {manifest.mlflow_run_id}. Point WHITECROW_TRACKING_URI at the "
                "registry that knows it, or take another --name."
            )
        return
    # Whatever a killed release was about to put there.
    store.withdraw(name, version)
    store.keep(name, version, run.kept)
    with store.new_bundle(name, version, key=key) as staging:
        for file in bundle.folder.iterdir():
            shutil.copyfile(file, staging / file.name)


def _announced(
    settings: Settings, name: str, bundle: ModelBundle, run_id: str
) -> LedgerEntry | None:
    """Return the entry of the ledger that tells of this run's version, if there is one."""
    for entry in open_ledger(settings).entries(name):
        if entry.event != REGISTERED or entry.details.get("mlflow_run_id") != run_id:
            continue
        if entry.details["model_sha256"] != bundle.model_sha256:
            raise VersionTaken(
                f"This run has released {name}:{entry.details['model_version']} before, made of "
                "other rows or by other code. Begin anew."
            )
        return entry
    return None


def _announce(
    request: TrainRequest, settings: Settings, model: ResolvedModel, bundle: ModelBundle
) -> LedgerEntry:
    """Write the registration to the ledger."""
    store = ModelStore.open(settings)
    waiting = store.live.get(model.name, alias=CHALLENGER)
    return open_ledger(settings).append(
        REGISTERED,
        model.name,
        actor=request.actor,
        reason=request.reason,
        details={
            "model_version": model.model_version,
            "policy_version": model.policy_version,
            "model_sha256": bundle.model_sha256,
            "bundle_sha256": store.bundle_sha256(model.name, model.model_version),
            "policy_sha256": store.policy_sha256(model.name, model.policy_version),
            "before": asdict(waiting) if waiting else None,
            "mlflow_run_id": bundle.manifest.mlflow_run_id,
            "data": [fingerprint["sha256"] for fingerprint in bundle.manifest.data],
        },
    )


def _point_challenger(store: ModelStore, model: ResolvedModel, sequence: int) -> bool:
    """Let the version wait as challenger, unless it waits no longer; return whether it waits."""
    challenger = LiveRecord(model.model_version, model.policy_version, sequence)
    before = store.live.get(model.name, alias=CHALLENGER)
    champion = store.live.get(model.name, alias=CHAMPION)
    if before == challenger:
        return True
    has_newer = before is not None and before.ledger_sequence > sequence
    was_promoted = champion is not None and champion.model_version == model.model_version
    if has_newer or was_promoted:
        # A killed release goes on, and in the meantime another one or a promotion came.
        return False
    try:
        store.live.compare_and_swap(model.name, before, challenger, alias=CHALLENGER)
    except LiveRecordChanged as changed:
        logger.warning("challenger left as it is", extra={"why": str(changed)})
        return False
    return True

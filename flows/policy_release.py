"""Keeps a new policy: signed beside the others, told in the ledger, mirrored to MLflow.

Whatever fails, the policies that were there stay as they were, and what is live is not touched
at all. If the preview cannot be written or the ledger not told, the new policy is taken back.
"""

import logging
import time
from typing import Any

from flows.impact import Impact, preview_impact
from flows.new_policy import Made, Recalibration, make_policy
from flows.policy_mirror import mirror_policy
from flows.policy_outcome import (
    Announced,
    EarlierPolicy,
    NewPolicy,
    calibration_json,
    exploration_json,
    strength_of,
    thresholds_json,
)
from flows.policy_preview import write_preview
from flows.recalibration import minor_units_of
from flows.run_folder import RunFolder
from flows.signing import signing_key
from flows.workspace import Workspace
from infra.errors import WhitecrowError
from infra.ledger import open_ledger
from infra.settings import Settings
from serving.bundle import ModelBundle
from serving.live import CHALLENGER, CHAMPION, LiveRecord, LiveRecordChanged
from serving.model_references import ResolvedModel
from serving.model_store import ModelStore

logger = logging.getLogger(__name__)

POLICY_CREATED = "policy_created"


def recalibrate_version(settings: Settings, asked: Recalibration) -> Announced:
    """Make a policy for a released version and keep it beside the others.

    Raises:
        WhitecrowError: If the reference, the rows, the objectives or the post-processing do not
            allow one, or the state folder takes no writes. Nothing has changed then.
    """
    started = time.monotonic()
    workspace, store = Workspace.open(settings), ModelStore.open(settings)
    name, version = store.resolve_version(asked.reference)
    bundle = store.bundle(name, version)
    earlier = _earlier(store, name, version)
    columns = earlier.policy.segment_columns if earlier else ()
    made = make_policy(store, bundle, version, asked, compared_columns=columns)
    made.policy.check_golden()
    _note_test_rows(settings, bundle, made, asked)
    if earlier is not None and not set(columns) <= set(made.preview.frame.columns):
        logger.warning("these rows lack the earlier policy's segments", extra={"columns": columns})
        earlier = None
    impact = _impact(bundle, made, earlier)
    key = signing_key(settings, store, actor=asked.actor)
    run = RunFolder(workspace.new_run(f"{name}-policy"))
    policy_version = store.add_policy(name, made.policy, key=key)
    new = NewPolicy(
        bundle=bundle,
        model_version=version,
        policy_version=policy_version,
        key_id=key.key_id,
        signature=store.policy_signature(name, policy_version),
        made=made,
        earlier=earlier,
        impact=impact,
        run=run,
    )
    try:
        write_preview(new)
        details = _details(new, store)
        entry = open_ledger(settings).append(
            POLICY_CREATED, name, actor=asked.actor, reason=asked.reason, details=details
        )
    except BaseException:
        # Ctrl-C too: nobody has heard of this policy, and nobody is to promote it.
        store.withdraw_policy(name, policy_version)
        raise
    _point_challenger(store, ResolvedModel(name, version, policy_version), entry.sequence)
    run_id = mirror_policy(settings, new)
    return Announced(new, entry.sequence, run_id, time.monotonic() - started)


def _earlier(store: ModelStore, name: str, version: str) -> EarlierPolicy | None:
    """Return the policy to compare with; one that does not verify must not stand in the way."""
    live = store.live.get(name)
    is_live = live is not None and live.model_version == version
    try:
        reference = name if is_live else f"{name}:{version}"
        policy_version = store.resolve(reference).policy_version
        return EarlierPolicy(policy_version, store.policy(name, policy_version), is_live)
    except WhitecrowError as error:
        logger.warning("no earlier policy to compare with", extra={"why": str(error)})
        return None


def _note_test_rows(
    settings: Settings, bundle: ModelBundle, made: Made, asked: Recalibration
) -> None:
    """Write to the ledger that rows of the test period were read, where they were."""
    begins = bundle.manifest.test_from
    if begins is None or made.calibration.are_kept:
        return
    n_rows = int((made.calibration.labelled["event_time"] >= begins).sum())
    if n_rows:
        open_ledger(settings).append(
            "test_rows.read",
            bundle.contract.name,
            actor=asked.actor,
            reason="recalibration on rows newer than the training",
            details={"model": bundle.manifest.name, "rows": n_rows, "from": begins.isoformat()},
        )


def _impact(bundle: ModelBundle, made: Made, earlier: EarlierPolicy | None) -> Impact:
    return preview_impact(
        made.preview.frame,
        earlier.policy if earlier else None,
        made.policy,
        minor_units_per_major=minor_units_of(bundle.contract),
        shown_columns=made.shown_columns,
    )


def _details(new: NewPolicy, store: ModelStore) -> dict[str, Any]:
    policy = new.made.policy
    return {
        "policy_sha256": store.policy_sha256(new.bundle.manifest.name, new.policy_version),
        "model_version": new.model_version,
        "policy_version": new.policy_version,
        "policy_id": policy.policy_id,
        "model_sha256": policy.model_sha256,
        "key_id": new.key_id,
        "calibration": calibration_json(new.made),
        "thresholds": thresholds_json(policy),
        "post_processing": {"kind": policy.post_processing.kind, **strength_of(policy)},
        "exploration": exploration_json(policy),
        "compared_with": new.earlier.version if new.earlier else None,
        "preview": new.run.root.name,
    }


def _point_challenger(store: ModelStore, new: ResolvedModel, sequence: int) -> None:
    """Let the policy wait beside the champion, where its model does, or is it and nothing waits."""
    before, live = (store.live.get(new.name, alias=alias) for alias in (CHALLENGER, CHAMPION))
    stands = before if before is not None else live
    if stands is None or stands.model_version != new.model_version:
        return
    after = LiveRecord(new.model_version, new.policy_version, sequence)
    try:
        store.live.compare_and_swap(new.name, before, after, alias=CHALLENGER)
    except LiveRecordChanged as changed:
        # Another waits there by now. This one is kept, and can be promoted by its number.
        logger.warning("challenger left as it is", extra={"why": str(changed)})

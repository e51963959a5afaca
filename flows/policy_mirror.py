"""A new policy as MLflow shows it: a run below the model's, with the policy as its artifact."""

import logging
from typing import TYPE_CHECKING, Any

from flows.provenance.mirror import mirror_versions
from infra.errors import WhitecrowError
from infra.settings import Settings
from infra.storage import canonical_json

if TYPE_CHECKING:
    from flows.policy_outcome import NewPolicy

logger = logging.getLogger(__name__)

NEWEST_POLICY_TAG = "whitecrow.policy_version"


def mirror_policy(settings: Settings, new: "NewPolicy") -> str | None:
    """Log a policy that is kept already and link it to the model version; return the run's id.

    A copy for people: where MLflow does not answer, the policy stands all the same.
    """
    try:
        return _logged(settings, new)
    except Exception as error:
        logger.warning(
            "MLflow was not told of the policy; it is kept all the same",
            extra={
                "model": new.name,
                "policy_version": new.policy_version,
                "why": str(error),
            },
            exc_info=not isinstance(error, WhitecrowError),
        )
        return None


def _logged(settings: Settings, new: "NewPolicy") -> str:
    # MLflow takes seconds to import.
    from infra.tracking import open_tracking

    tracking, manifest = open_tracking(settings), new.bundle.manifest
    run_name, tags = f"policy {new.policy_version}", _tags(new)
    if manifest.mlflow_run_id is None:
        run_id = tracking.start_run(new.name, run_name=run_name, tags=tags)
    else:
        run_id = tracking.start_child(manifest.mlflow_run_id, run_name=run_name, tags=tags)
    tracking.log_config(run_id, _config(new))
    tracking.log_metrics(run_id, _metrics(new))
    for path in (new.run.policy, new.run.impact_page, new.run.impact):
        tracking.log_file(run_id, path)
    tracking.log_file(run_id, new.signature)
    tracking.finish_run(run_id, status="FINISHED")
    link = {NEWEST_POLICY_TAG: new.policy_version, policy_tag(new.policy_version): run_id}
    tracking.tag_version(new.name, new.model_version, link)
    mirror_versions(settings, tracking, new.name, new.model_version)
    return run_id


def policy_tag(policy_version: str) -> str:
    """Return the tag of a model version that names the run of one of its policies."""
    return f"whitecrow.policy.{policy_version}.run_id"


def _tags(new: "NewPolicy") -> dict[str, str]:
    policy = new.made.policy
    return {
        "whitecrow.kind": "policy",
        "whitecrow.model_version": new.model_version,
        "whitecrow.policy_version": new.policy_version,
        "whitecrow.policy_id": policy.policy_id,
        "whitecrow.model_sha256": policy.model_sha256,
        "whitecrow.calibration_fingerprint": policy.calibration_data.fingerprint,
        "whitecrow.key_id": new.key_id,
        "whitecrow.actor": policy.actor,
        "whitecrow.reason": policy.reason,
    }


def _config(new: "NewPolicy") -> dict[str, Any]:
    policy = new.made.policy
    exploration = policy.exploration
    return {
        "review": canonical_json(policy.thresholds.review.objective.model_dump(mode="json")),
        "decline": canonical_json(policy.thresholds.decline.objective.model_dump(mode="json")),
        "post_processing": policy.post_processing.kind,
        "calibrator": policy.calibrator.kind,
        "calibration": new.made.calibration.origin,
        "exploration": "none" if exploration is None else exploration.model_dump_json(),
    }


def _metrics(new: "NewPolicy") -> dict[str, float]:
    """Return thresholds with their intervals, and the preview's figures of the new policy."""
    found: dict[str, float | None] = {}
    for word in ("review", "decline"):
        tuned = getattr(new.made.policy.thresholds, word)
        found[f"{word}_threshold"] = tuned.threshold
        found[f"{word}_threshold_low"] = tuned.interval.low
        found[f"{word}_threshold_high"] = tuned.interval.high
    total = new.impact.total.new
    for name in ("alerts_per_day", "precision", "recall", "caught_amount", "missed_amount"):
        found[f"preview_{name}"] = getattr(total, name)
    return {name: value for name, value in found.items() if value is not None}

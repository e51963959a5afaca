"""A verdict as MLflow shows it: page and JSON under the challenger's run, tags on its version."""

import logging
from typing import TYPE_CHECKING

from flows.provenance.mirror import mirror_versions
from infra.errors import WhitecrowError

if TYPE_CHECKING:
    from flows.gate.verdict import Verdict
    from infra.settings import Settings

logger = logging.getLogger(__name__)

VERDICT_TAG = "whitecrow.gate.verdict"
VERDICT_AT_TAG = "whitecrow.gate.at"
VERDICT_POLICY_TAG = "whitecrow.gate.policy_version"


def mirror_verdict(settings: "Settings", verdict: "Verdict") -> str | None:
    """Log a verdict that the ledger knows already; return the run's id.

    A copy for people: where MLflow does not answer, the verdict stands all the same.
    """
    try:
        return _logged(settings, verdict)
    except Exception as error:
        logger.warning(
            "MLflow was not told of the verdict; it stands all the same",
            extra={
                "model": verdict.judgement.name,
                "folder": str(verdict.folder),
                "why": str(error),
            },
            exc_info=not isinstance(error, WhitecrowError),
        )
        return None


def _logged(settings: "Settings", verdict: "Verdict") -> str:
    # MLflow takes seconds to import.
    from infra.tracking import open_tracking

    judgement = verdict.judgement
    scorer = judgement.challenger.scorer
    tracking = open_tracking(settings)
    run_id = scorer.bundle.manifest.mlflow_run_id
    is_own = run_id is None
    if run_id is None:
        run_id = tracking.start_run(judgement.name, run_name="gate", tags={})
    # A version may be judged more than once.
    for file in (verdict.page, verdict.table):
        tracking.log_file(run_id, file, f"gate/{verdict.folder.name}")
    checked = {f"gate_{check.name}": check.value for check in judgement.checks}
    tracking.log_metrics(
        run_id, {name: value for name, value in checked.items() if value is not None}
    )
    if is_own:
        tracking.finish_run(run_id, status="FINISHED")
    tags = {
        VERDICT_TAG: verdict.outcome,
        VERDICT_AT_TAG: judgement.at.isoformat(timespec="seconds"),
        VERDICT_POLICY_TAG: scorer.policy_version,
    }
    tracking.tag_version(judgement.name, scorer.model_version, tags)
    champion = judgement.champion.scorer.model_version
    mirror_versions(settings, tracking, judgement.name, scorer.model_version, champion)
    return run_id

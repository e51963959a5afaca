"""A training from its beginning, or from where it stopped, to its outcome.

Each run has a folder, a run in MLflow, and a lock that its process holds: nobody else goes on with
it as long as that lives.
"""

import contextlib
import logging
import shutil
from collections.abc import Iterator
from typing import Any

from flows.left_versions import run_lock
from flows.locks import one_at_a_time
from flows.orchestration import start_orchestration
from flows.outcome import TrainingOutcome
from flows.pipeline import train_model
from flows.progress import say
from flows.request import TrainRequest
from flows.run_folder import RunFolder
from flows.run_record import NothingToResume, RunRecord, read_record
from flows.run_steps import RunSteps
from flows.workspace import Workspace
from infra.revision import code_revision
from infra.settings import Settings
from infra.storage import remove_unfinished
from infra.tracking import Tracking, open_tracking
from infra.tracking_answers import TrackingUnavailable

logger = logging.getLogger(__name__)

# Behind this step a run's version is known, and no other may take its place.
_RELEASE = "release"


def run_training(request: TrainRequest, settings: Settings) -> TrainingOutcome:
    """Run the flow under an MLflow run that ends as finished, failed or killed.

    Raises:
        WhitecrowError: If the state folder, the data, the contract or a gate says no.
    """
    run, record = begin_run(settings, open_tracking(settings), request)
    return _trained(run, record, settings)


def resume_training(run: RunFolder, settings: Settings) -> TrainingOutcome:
    """Go on with a training that stopped, behind its last finished step.

    Raises:
        NothingToResume: If it was begun by other code, or is a retraining.
        Busy: If it has not stopped.
        WhitecrowError: As :func:`run_training`.
    """
    record = read_record(run)
    require_same_code(run, record)
    return _trained(run, record, settings)


def begin_run(
    settings: Settings,
    tracking: Tracking,
    request: TrainRequest,
    *,
    run: RunFolder | None = None,
    retraining: dict[str, Any] | None = None,
) -> tuple[RunFolder, RunRecord]:
    """Return a new run's folder, which says of itself what was asked for, and that record.

    Args:
        settings: Where the state is.
        tracking: Where MLflow's run is opened.
        request: What to train.
        run: A folder that was made for it; default: a new one.
        retraining: Of a retraining, what was asked for.
    """
    run = run or RunFolder(Workspace.open(settings).new_run(request.model_name))
    try:
        run_id = tracking.start_run(
            request.model_name,
            run_name=run.root.name,
            tags={"whitecrow.actor": request.actor, "whitecrow.reason": request.reason},
        )
    except BaseException:
        # Without a run of MLflow's nothing has begun.
        shutil.rmtree(run.root, ignore_errors=True)
        raise
    record = RunRecord(request=request, mlflow_run_id=run_id, retraining=retraining)
    record.write(run)
    return run, record


def is_of_this_code(run: RunFolder, record: RunRecord) -> bool:
    """Return whether this code may go on: it began the run, or only the last steps are left."""
    return record.code_revision == code_revision() or RunSteps.of(run.root).is_finished(_RELEASE)


def require_same_code(run: RunFolder, record: RunRecord) -> None:
    """Refuse to go on with what other code has begun, unless only the last steps are left.

    Raises:
        NothingToResume: If the steps that are left would meet files of other code.
    """
    if not is_of_this_code(run, record):
        raise NothingToResume(
            f"{run.root.name} was begun by other code ({record.code_revision[:20]}; this is "
            f"{code_revision()[:20]}). Begin anew."
        )


@contextlib.contextmanager
def under_way(
    settings: Settings, tracking: Tracking, run: RunFolder, record: RunRecord
) -> Iterator[None]:
    """Hold the run's lock for the block, and let MLflow know how it ends.

    Raises:
        Busy: If another process is at this run.
        TrackingUnavailable: If MLflow does not answer, or does not know the run.
    """
    request, steps = record.request, RunSteps.of(run.root)
    doing = f"run {run.root.name}"
    with one_at_a_time(settings, run_lock(run.root), doing=doing, actor=request.actor):
        _remove_unfinished(settings, run, request.model_name)
        tracking.reopen_run(record.mlflow_run_id)
        if finished := steps.finished():
            say("goes on", f"behind {', '.join(finished)}: finished before")
        try:
            yield
        except BaseException as failure:
            # Where MLflow is what does not answer, asking it again would only wait once more.
            if not isinstance(failure, TrackingUnavailable):
                is_interrupt = isinstance(failure, KeyboardInterrupt)
                _end(tracking, record.mlflow_run_id, "KILLED" if is_interrupt else "FAILED")
            raise
        _end(tracking, record.mlflow_run_id, "FINISHED")


def _remove_unfinished(settings: Settings, run: RunFolder, name: str) -> None:
    """Remove what processes that were killed had begun to write where this run will write."""
    root = settings.root
    models = [root / kind / name for kind in ("models", "policies", "calibration", "retrainings")]
    for folder in (root / "features", root / "locks", run.root, run.steps, *models):
        for left in remove_unfinished(folder):
            logger.info("removed what a killed process left", extra={"path": str(folder / left)})


def _trained(run: RunFolder, record: RunRecord, settings: Settings) -> TrainingOutcome:
    tracking = open_tracking(settings)
    try:
        with under_way(settings, tracking, run, record):
            start_orchestration()
            released = train_model(record.request, run.root, record.mlflow_run_id)
    except BaseException:
        if RunSteps.of(run.root).is_finished("featurize"):
            say("stopped", f"to go on behind what is finished: whitecrow resume {run.root.name}")
        raise
    return TrainingOutcome(released, run, record.mlflow_run_id)


def _end(tracking: Tracking, run_id: str, status: str) -> None:
    """Close MLflow's run; what came of it stands, and a failure is told, without that."""
    try:
        tracking.finish_run(run_id, status=status)
    except Exception as error:  # noqa: BLE001 - whatever MLflow raises, what came of the run stands
        why = next(iter(str(error).splitlines()), type(error).__name__)
        logger.warning("MLflow's run is not closed", extra={"run": run_id, "why": why})

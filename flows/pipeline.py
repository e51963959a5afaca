"""The training flow: validate, featurize, train, recalibrate, evaluate, bundle, log, release.

Tasks hand each other folders and names, never frames or networks, so that a Prefect server
can show them. Only the ones that read files or talk to a store are tried again.
"""

import contextlib
import errno
import logging
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task

from flows import evaluation, featurization, lineage, recalibration, release, training, validation
from flows import search as strategy_search
from flows.fitted_model import how_in_words
from flows.orchestration import start_orchestration
from flows.outcome import TrainingOutcome, describe_version
from flows.progress import fit_progress, say, training_progress
from flows.report import write_report
from flows.request import TrainRequest
from flows.run_folder import RunFolder, read_json
from flows.validation import Validated
from flows.workspace import Workspace
from infra.errors import WhitecrowError
from infra.ledger import Ledger
from infra.settings import Settings
from infra.tracking import open_tracking

logger = logging.getLogger(__name__)

# A full or read-only disk does not mend itself within seconds.
_PERMANENT = {errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT, errno.EFBIG}


def is_worth_another_try(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    """Return whether a failed task may succeed next time: not when a person must act."""
    del task, run
    failure = state.result(raise_on_failure=False)
    if not isinstance(failure, OSError) or isinstance(failure, WhitecrowError):
        return False
    return failure.errno not in _PERMANENT


_TRIED_AGAIN: dict[str, Any] = {
    "retries": 3,
    "retry_delay_seconds": [2, 5, 15],
    "retry_condition_fn": is_worth_another_try,
}


@task(name="fingerprint", **_TRIED_AGAIN)
def fingerprint(request: TrainRequest) -> list[dict[str, Any]]:
    """Return name, SHA-256 and size of every source that the model is made from."""
    return lineage.fingerprints(request)


@task(name="validate", **_TRIED_AGAIN)
def validate(request: TrainRequest, run: Path) -> Validated:
    """Send failing rows to quarantine, and stop at a table that must not go on."""
    contract, workspace = request.read_contract(), Workspace(Settings())
    validated = validation.validate_sources(
        request.sources,
        contract,
        RunFolder(run),
        workspace,
        contract_reference=request.contract,
        profile=validation.released_profile(workspace, request.model_name),
        as_of=request.as_of,
    )
    for outcome in validated.outcomes.values():
        say("validated", validation.counts_in_words(outcome))
    return validated


@task(name="featurize")
def featurize(
    request: TrainRequest, run: Path, validated: Validated, sources: list[dict[str, Any]]
) -> Path:
    """Make the feature table, or find it where it was made before."""
    has_test = validation.TEST in validated.outcomes
    folder = featurization.featurize(
        RunFolder(run).passed_of(validation.DATA),
        validated.contract,
        input_types=validated.input_types,
        fingerprints=[source["sha256"] for source in sources],
        root=Workspace(Settings()).feature_tables,
        as_of=request.as_of,
        test_passed=RunFolder(run).passed_of(validation.TEST) if has_test else None,
    )
    say("featurized", featurization.summary(folder))
    return folder


@task(name="search")
def search(request: TrainRequest, run: Path, features: Path) -> TrainRequest:
    """Try strategies within the budget; returns the request with the one that was chosen."""
    if request.config.search is None:
        return request
    with fit_progress() as report:
        found = strategy_search.search(features, request.config, RunFolder(run), on_done=report)
    say(
        "searched",
        f"{found.n_finished} candidates finished; {found.name} has the best validation average "
        f"precision, {found.validation_average_precision:.4f}",
    )
    config = request.config.model_copy(update={"strategy": found.strategy})
    return request.model_copy(update={"config": config})


@task(name="train")
def train(request: TrainRequest, run: Path, features: Path) -> None:
    """Fit the model, or take it as it was given, and export it as ONNX."""
    with training_progress() as report:
        training.train_model(
            features, request.config, RunFolder(run), device=request.device, on_progress=report
        )
    record = read_json(RunFolder(run).training)
    say("trained", how_in_words(record["how"]))


@task(name="recalibrate")
def recalibrate(request: TrainRequest, run: Path, validated: Validated) -> None:
    """Fit the policy: calibrator and thresholds."""
    policy = recalibration.recalibrate(
        RunFolder(run),
        validated.contract,
        actor=request.actor,
        reason=request.reason,
        seed=request.config.seed,
    )
    say("recalibrated", policy.thresholds.review.reason)


@task(name="evaluate")
def evaluate(request: TrainRequest, run: Path, features: Path) -> None:
    """Read the test rows, once."""
    report = evaluation.evaluate_run(
        features,
        RunFolder(run),
        ledger=Ledger(Settings().database),
        actor=request.actor,
        seed=request.config.seed,
    )
    precision = report.metrics["average_precision"]
    say(
        "evaluated",
        f"average precision {precision.value:.4f} "
        f"({precision.low:.4f} to {precision.high:.4f}) on {report.n_rows:,} test rows",
    )


@task(name="bundle")
def bundle(
    request: TrainRequest, run: Path, features: Path, sources: list[dict[str, Any]], run_id: str
) -> None:
    """Write the bundle, show that serving equals training, and write the report."""
    release.build_bundle(request, features, RunFolder(run), sources=sources, run_id=run_id)
    write_report(request, features, RunFolder(run))


@task(name="log", **_TRIED_AGAIN)
def log(
    request: TrainRequest, run: Path, features: Path, sources: list[dict[str, Any]], run_id: str
) -> None:
    """Log everything that an auditor asks for to MLflow."""
    lineage.log_run(
        open_tracking(Settings()), request, RunFolder(run), features, sources, run_id=run_id
    )


@task(name="release")
def release_version(request: TrainRequest, run: Path, run_id: str) -> release.Released:
    """Register the version and put bundle and policy in their places."""
    return release.release(
        request,
        Settings(),
        open_tracking(Settings()),
        RunFolder(run),
        run_id=run_id,
        description=describe_version(RunFolder(run)),
    )


@flow(name="whitecrow-train", validate_parameters=False)
def train_model(request: TrainRequest, run: Path, run_id: str) -> release.Released:
    """Train and release a model."""
    sources = fingerprint(request)
    validated = validate(request, run)
    features = featurize(request, run, validated, sources)
    request = search(request, run, features)
    train(request, run, features)
    recalibrate(request, run, validated)
    evaluate(request, run, features)
    bundle(request, run, features, sources, run_id)
    log(request, run, features, sources, run_id)
    return release_version(request, run, run_id)


def run_training(request: TrainRequest, settings: Settings) -> TrainingOutcome:
    """Run the flow under an MLflow run that ends as finished, failed or killed.

    Raises:
        WhitecrowError: If the state folder, the data, the contract or a gate says no.
    """
    name = request.model_name
    run = RunFolder(Workspace.open(settings).new_run(name))
    tracking = open_tracking(settings)
    run_id = tracking.start_run(
        name,
        run_name=run.root.name,
        tags={"whitecrow.actor": request.actor, "whitecrow.reason": request.reason},
    )
    try:
        start_orchestration()
        released = train_model(request, run.root, run_id)
    except BaseException as failure:
        is_interrupt = isinstance(failure, KeyboardInterrupt)
        # Where the store fails too, the first failure is the one to tell.
        with contextlib.suppress(Exception):
            tracking.finish_run(run_id, status="KILLED" if is_interrupt else "FAILED")
        raise
    tracking.finish_run(run_id, status="FINISHED")
    return TrainingOutcome(released, run, run_id)

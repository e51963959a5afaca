"""The training flow: validate, featurize, train, recalibrate, evaluate, bundle, log, release.

Tasks hand each other folders and names, never frames or networks, so that a Prefect server
can show them. Only the ones that read files or talk to a store are tried again. What a finished
task made is a durable fact of the run's folder (:mod:`flows.run_steps`): a run that was killed
goes on behind it.
"""

import errno
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task

from features.contract import Contract, parse_contract
from flows import evaluation, featurization, lineage, recalibration, release, training, validation
from flows import search as strategy_search
from flows.bundling import build_bundle
from flows.fitted_model import how_in_words
from flows.outcome import describe_version
from flows.progress import fit_progress, say, training_progress
from flows.released_strategy import read_released
from flows.report import write_report
from flows.request import TrainRequest
from flows.run_folder import RunFolder, read_json
from flows.run_steps import RunSteps
from flows.workspace import Workspace
from infra.errors import WhitecrowError
from infra.ledger import open_ledger
from infra.settings import Settings
from infra.tracking import open_tracking

logger = logging.getLogger(__name__)

Fingerprints = list[dict[str, Any]]
"""Role, path, name, SHA-256 and size of each source."""

PICKED_FROM = "source"
"""Role of a table that rows were picked from; what is trained on has the rows' own digest."""

# A full or read-only disk does not mend itself within seconds.
_PERMANENT = {errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT, errno.EFBIG}


def is_worth_another_try(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    """Return whether a failed task may succeed next time: not when a person must act."""
    del task, run
    failure = state.result(raise_on_failure=False)
    if not isinstance(failure, OSError) or isinstance(failure, WhitecrowError):
        return False
    return failure.errno not in _PERMANENT


TRIED_AGAIN: dict[str, Any] = {
    "retries": 3,
    "retry_delay_seconds": [2, 5, 15],
    "retry_condition_fn": is_worth_another_try,
}
"""Of tasks that read files or talk to a store; training never is."""


@task(name="fingerprint", **TRIED_AGAIN)
def fingerprint(request: TrainRequest) -> Fingerprints:
    """Return name, SHA-256 and size of every source that the model is made from."""
    return lineage.fingerprints(request)


@task(name="validate", **TRIED_AGAIN)
def validate(request: TrainRequest, run: Path) -> dict[str, Any]:
    """Send failing rows to quarantine, and stop at a table that must not go on."""
    contract, workspace = request.read_contract(), Workspace(settings_of(run))
    validated = validation.validate_sources(
        request.sources,
        contract,
        RunFolder(run),
        workspace,
        contract_reference=request.contract,
        profile=validation.released_profile(workspace, request.model_name),
        accepts_drift=request.accepts_drift,
        as_of=request.as_of,
        actor=request.actor,
    )
    for outcome in validated.outcomes.values():
        say("validated", validation.counts_in_words(outcome))
    return {
        "contract": validated.contract.model_dump(mode="json"),
        "input_types": validated.input_types,
    }


@task(name="featurize")
def featurize(
    request: TrainRequest, run: Path, validated: dict[str, Any], sources: Fingerprints
) -> str:
    """Make the feature table, or find it where it was made before; returns its address."""
    made_from = [source["sha256"] for source in sources if source["role"] != PICKED_FROM]
    folder = featurization.featurize(
        RunFolder(run).passed_of(validation.DATA),
        _contract(validated),
        input_types=validated["input_types"],
        fingerprints=made_from,
        root=Workspace(settings_of(run)).feature_tables,
        as_of=request.as_of,
        since=request.since,
        test_passed=None if request.test is None else RunFolder(run).passed_of(validation.TEST),
    )
    say("featurized", featurization.summary(folder))
    return folder.name


@task(name="search")
def search(request: TrainRequest, run: Path, features: Path) -> dict[str, Any] | None:
    """Try strategies within the budget; returns the one that was chosen, None without a search."""
    if request.config.search is None:
        return None
    with fit_progress() as report:
        found = strategy_search.search(features, request.config, RunFolder(run), on_done=report)
    say(
        "searched",
        f"{found.n_finished} candidates finished; {found.name} has the best validation average "
        f"precision, {found.validation_average_precision:.4f}",
    )
    return found.strategy.model_dump(mode="json")


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
def recalibrate(request: TrainRequest, run: Path, validated: dict[str, Any]) -> None:
    """Fit the policy: calibrator and thresholds."""
    policy = recalibration.recalibrate(
        RunFolder(run),
        _contract(validated),
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
        ledger=open_ledger(settings_of(run)),
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
    request: TrainRequest, run: Path, features: Path, sources: Fingerprints, run_id: str
) -> None:
    """Write the bundle, show that serving equals training, and write the report."""
    build_bundle(request, features, RunFolder(run), sources=sources, run_id=run_id)
    write_report(request, features, RunFolder(run))


@task(name="log", **TRIED_AGAIN)
def log(
    request: TrainRequest, run: Path, features: Path, sources: Fingerprints, run_id: str
) -> None:
    """Log everything that an auditor asks for to MLflow."""
    lineage.log_run(
        open_tracking(settings_of(run)), request, RunFolder(run), features, sources, run_id=run_id
    )


@task(name="release")
def release_version(request: TrainRequest, run: Path, run_id: str) -> dict[str, Any]:
    """Register the version and put bundle and policy in their places."""
    released = release.release(
        request,
        settings_of(run),
        open_tracking(settings_of(run)),
        RunFolder(run),
        run_id=run_id,
        description=describe_version(RunFolder(run)),
    )
    return asdict(released) | {"folder": str(released.folder)}


def train_and_release(
    request: TrainRequest,
    run: Path,
    run_id: str,
    *,
    steps: RunSteps,
    picked: Fingerprints,
) -> release.Released:
    """Train and release a model, behind the steps that the run has finished already.

    Args:
        request: What to train.
        run: The run's folder, below the state folder.
        run_id: MLflow's name for the run.
        steps: The run's; some may have come before.
        picked: What the data's rows were picked from, where that was not all of a table.
    """
    # Until the last step that reads the sources is done, they may have changed in the meantime.
    is_read = steps.is_finished("featurize")
    sources = steps.once("fingerprint", lambda: fingerprint(request), renew=not is_read)
    sources = [*sources, *picked]
    tables = Workspace(settings_of(run)).feature_tables
    validated = steps.once("validate", lambda: validate(request, run))
    address = steps.once(
        "featurize",
        lambda: featurize(request, run, validated, sources),
        also=lambda name: [tables / name],
    )
    features = tables / address
    # A search keeps what each of its fits gave.
    found = steps.once("search", lambda: search(request, run, features), goes_on=True)
    if found is not None:
        config = request.config.model_copy(update={"strategy": read_released(found)})
        request = request.model_copy(update={"config": config})
    steps.once("train", lambda: train(request, run, features))
    steps.once("recalibrate", lambda: recalibrate(request, run, validated))
    steps.once("evaluate", lambda: evaluate(request, run, features))
    steps.once("bundle", lambda: bundle(request, run, features, sources, run_id))
    steps.once("log", lambda: log(request, run, features, sources, run_id))
    released = steps.once("release", lambda: release_version(request, run, run_id))
    return release.Released(**released | {"folder": Path(released["folder"])})


def settings_of(run: Path) -> Settings:
    """Return the settings of the state folder ``HOME`` that a run ``HOME/runs/RUN`` lies in."""
    return Settings(home=run.parents[1])


def _contract(validated: dict[str, Any]) -> Contract:
    return parse_contract(validated["contract"], source="the validated contract")


@flow(name="whitecrow-train", validate_parameters=False)
def train_model(request: TrainRequest, run: Path, run_id: str) -> release.Released:
    """Train and release a model."""
    return train_and_release(request, run, run_id, steps=RunSteps.of(run), picked=[])

"""A retraining from what is asked for to its outcome: once a window, one at a time a model.

The same window again returns the first outcome; one that stopped goes on behind its last finished
step. Whatever happens before the gate has promoted it, the champion goes on serving.
"""

from contextlib import AbstractContextManager
from typing import Any

from flows.locks import one_at_a_time
from flows.orchestration import start_orchestration
from flows.outcome import TrainingOutcome
from flows.progress import say
from flows.request import TrainRequest
from flows.retraining.book import RetrainBook, RetrainEntry
from flows.retraining.failure import stopped
from flows.retraining.flow import retrain_model
from flows.retraining.ledger import RetrainLedger
from flows.retraining.outcome import RetrainOutcome
from flows.retraining.plan import RetrainPlan, plan_retraining
from flows.retraining.request import RetrainRequest
from flows.run_folder import RunFolder, write_json
from flows.run_record import NothingToResume, read_record
from flows.run_steps import RunSteps
from flows.training_run import begin_run, is_of_this_code, require_same_code, under_way
from flows.workspace import Workspace
from infra.settings import Settings
from infra.tracking import open_tracking


def run_retraining(request: RetrainRequest, settings: Settings) -> RetrainOutcome:
    """Train a new version of a model on a window of rows, register it, and let the gate judge it.

    Raises:
        Busy: If another process retrains this model.
        RequestError: If something is left out that no champion knows.
        RetrainingStopped: If a step says no or fails; says which, why, and how to go on.
        WhitecrowError: If the data, the contract or the state folder cannot be used.
    """
    Workspace.open(settings)
    with _alone(settings, request.name, request.actor):
        say(
            "retraining",
            f"{request.name} on {', '.join(request.data) or 'the data of its champion'}",
        )
        plan = plan_retraining(settings, request)
        book = RetrainBook(settings, request.name)
        known = None if request.again else book.find(plan.key)
        if known is not None and known.outcome is not None:
            return known.outcome.model_copy(update={"is_repeated": True})
        entry = known if known is not None and _may_go_on(book.run_of(known)) else None
        return _carried_out(settings, book, entry or _begun(settings, book, plan))


def resume_retraining(name: str, settings: Settings, *, actor: str) -> RetrainOutcome:
    """Go on with the newest retraining of a model, which has stopped.

    Raises:
        NothingToResume: If there is none, it is finished, or other code began it.
        Busy: If another process retrains this model.
        RetrainingStopped: As :func:`run_retraining`.
    """
    Workspace.open(settings)
    with _alone(settings, name, actor):
        book = RetrainBook(settings, name)
        entry = book.newest()
        if entry is None:
            raise NothingToResume(f"No retraining of {name!r} was begun here: nothing can go on.")
        if entry.outcome is not None:
            raise NothingToResume(
                f"The newest retraining of {name!r} ({entry.run}) is finished: nothing can go on."
            )
        run = book.run_of(entry)
        require_same_code(run, read_record(run))
        say("retraining", f"{name} goes on in {run.root.name}")
        return _carried_out(settings, book, entry)


def _alone(settings: Settings, name: str, actor: str) -> AbstractContextManager[None]:
    return one_at_a_time(settings, f"retrain-{name}", doing=f"retraining {name}", actor=actor)


def _may_go_on(run: RunFolder) -> bool:
    """Return whether a run that stopped can be taken up; what other code began, begins anew."""
    try:
        return is_of_this_code(run, read_record(run))
    except NothingToResume:
        return False


def _begun(settings: Settings, book: RetrainBook, plan: RetrainPlan) -> RetrainEntry:
    """Return a new run of a plan, kept where the same window will find it."""
    asked = plan.asked
    run = RunFolder(Workspace(settings).new_run(asked.name))
    write_json(run.contract, plan.contract.model_dump(mode="json"))
    request = TrainRequest(
        data=str(run.picked) if plan.picks_rows else plan.data[0],
        contract=str(run.contract),
        name=asked.name,
        config=plan.config,
        device=asked.device,
        as_of=plan.as_of,
        since=asked.since,
        accepts_drift=asked.accepts_drift,
        actor=asked.actor,
        reason=asked.reason,
    )
    retraining = asked.model_copy(update={"data": plan.data}).model_dump(mode="json")
    begin_run(settings, open_tracking(settings), request, run=run, retraining=retraining)
    entry = RetrainEntry(key=plan.key, run=run.root.name)
    book.keep(entry)
    return entry


def _carried_out(settings: Settings, book: RetrainBook, entry: RetrainEntry) -> RetrainOutcome:
    """Return what a run gives, from its first step or behind the last one that it has finished."""
    run = book.run_of(entry)
    record = read_record(run)
    asked = RetrainRequest.model_validate(record.retraining)
    ledger = RetrainLedger(settings, asked, entry)
    ledger.started(RunSteps.of(run.root).finished())
    try:
        with under_way(settings, open_tracking(settings), run, record):
            start_orchestration()
            released, settled = retrain_model(
                record.request, asked, asked.data, run.root, record.mlflow_run_id
            )
            training = TrainingOutcome(released, run, record.mlflow_run_id)
            outcome = _outcome(entry, asked, training, settled)
            ledger.finished(outcome)
            book.keep(entry.model_copy(update={"outcome": outcome}))
    except BaseException as failure:
        why = stopped(settings, asked.name, run, failure)
        ledger.failed(why.step, why.why)
        if isinstance(failure, Exception):
            raise why from failure
        raise
    return outcome


def _outcome(
    entry: RetrainEntry, asked: RetrainRequest, training: TrainingOutcome, settled: dict[str, Any]
) -> RetrainOutcome:
    released = training.released
    return RetrainOutcome(
        name=released.name,
        key=entry.key,
        run=entry.run,
        run_id=training.run_id,
        since=asked.since,
        until=asked.until,
        as_of=asked.knows_until,
        version=released.version,
        policy_version=released.policy_version,
        strategy=training.strategy,
        metrics=training.metrics,
        report=str(training.run.report),
        **settled,
    )

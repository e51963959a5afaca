"""Commands that train anew, and that go on with what stopped."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from flows.commands.console import console, print_json
from flows.commands.options import (
    AcceptDrift,
    Actor,
    AsJson,
    AsOf,
    Include,
    Reason,
    SearchBudget,
    Seed,
    Since,
    Until,
)
from flows.moments import RequestError
from infra.errors import WhitecrowError
from infra.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from flows.retraining.outcome import RetrainOutcome

Outcome = TypeVar("Outcome")

_REFUSED = 1


class Interrupted(WhitecrowError):
    """Raised when a person ends a run with Ctrl-C; says how to go on."""

    exit_code = 130


def add_commands(app: typer.Typer) -> None:
    """Register this module's commands."""
    app.command()(retrain)
    app.command()(resume)


def retrain(
    name: Annotated[str, typer.Argument(help="Name of the model.")],
    data: Annotated[
        list[str] | None,
        typer.Option(help="A table or URI; may be given several times. Default: the champion's."),
    ] = None,
    contract: Annotated[
        str | None, typer.Option("--contract", "-c", help="Default: the champion's.")
    ] = None,
    since: Since = None,
    until: Until = None,
    as_of: AsOf = None,
    strategy: Annotated[
        str | None, typer.Option(help="Default: the champion's; auto to search for one.")
    ] = None,
    search_budget: SearchBudget = None,
    include: Include = None,
    config: Annotated[
        Path | None,
        typer.Option(help="Run configuration (TOML) or its name. Default: the champion's."),
    ] = None,
    seed: Seed = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    again: Annotated[
        bool, typer.Option("--again", help="Train even if this was trained before.")
    ] = False,
    accept_drift: AcceptDrift = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the newest retraining, which stopped.")
    ] = False,
    actor: Actor = None,
    reason: Reason = "retrained on request",
    as_json: AsJson = False,
) -> None:
    """Train a new version of a model on a window of rows, and let the gate judge it."""
    from flows.retraining.request import retrain_request

    settings = Settings()
    values: dict[str, Any] = {
        "data": tuple(data or ()), "contract": contract, "since": since, "until": until,
        "as_of": as_of, "strategy": strategy, "search_budget": search_budget, "include": include,
        "config": config, "seed": seed,
    }  # fmt: skip
    actor = actor or settings.actor
    request = retrain_request(
        name=name, device=device, again=again, accepts_drift=accept_drift, actor=actor,
        reason=reason, **values,
    )  # fmt: skip
    flags = {"--again": again, "--accept-drift": accept_drift}
    _require_nothing_else(values, flags, resume=resume)
    _prepare(settings)

    # Prefect reads its settings when it is imported.
    from flows.retraining.run import resume_retraining, run_retraining

    def run() -> "RetrainOutcome":
        if resume:
            return resume_retraining(name, settings, actor=actor)
        return run_retraining(request, settings)

    _show(_interruptible(run, f"whitecrow retrain {name} --resume"), as_json=as_json)


def resume(
    run: Annotated[str, typer.Argument(help="Name or path of the run's folder.")],
    as_json: AsJson = False,
) -> None:
    """Go on with a training that stopped, behind its last finished step."""
    from flows.run_folder import RunFolder
    from flows.run_record import NothingToResume, find_run, read_record
    from flows.workspace import Workspace

    settings = Settings()
    found: RunFolder = find_run(Workspace(settings).runs, run)
    record = read_record(found)
    if record.retraining is not None:
        raise NothingToResume(
            f"{found.root.name} is a retraining. Go on with it by: whitecrow retrain "
            f"{record.request.model_name} --resume."
        )
    _prepare(settings)

    # Prefect reads its settings when it is imported.
    from flows.training_run import resume_training

    outcome = _interruptible(
        lambda: resume_training(found, settings), f"whitecrow resume {found.root.name}"
    )
    if as_json:
        print_json(outcome.to_json())
    else:
        outcome.show(console)


def _require_nothing_else(values: dict[str, Any], flags: dict[str, bool], *, resume: bool) -> None:
    """Refuse options that would have no effect."""
    options = {"since": "from", "until": "to"}
    given = [f"--{options.get(name, name)}".replace("_", "-") for name, v in values.items() if v]
    given += [flag for flag, is_set in flags.items() if is_set]
    if resume and given:
        raise RequestError(
            f"--resume goes on with what was asked for at first; {given[0]} asks for something "
            "else. Leave one of them out."
        )


def _prepare(settings: Settings) -> None:
    from flows.orchestration import prepare_orchestration
    from flows.workspace import Workspace

    prepare_orchestration(Workspace.open(settings))


def _interruptible(work: "Callable[[], Outcome]", command: str) -> "Outcome":
    try:
        return work()
    except KeyboardInterrupt:
        raise Interrupted(
            f"Interrupted. What answers requests is as it was. To go on: {command}"
        ) from None


def _show(outcome: "RetrainOutcome", *, as_json: bool) -> None:
    if as_json:
        print_json(outcome.to_json())
    else:
        outcome.show(console)
    if outcome.verdict == "keep":
        # It ran, and the answer is no.
        raise typer.Exit(_REFUSED)

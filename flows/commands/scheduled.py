"""Commands around schedules that there are, and around the worker and server behind them."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.console import console, print_json
from flows.commands.options import Actor, AsJson
from infra.settings import Settings

if TYPE_CHECKING:
    from flows.scheduling.schedule import ScheduleKey

Name = Annotated[str, typer.Argument(help="Name of the model.")]
Monitor = Annotated[
    bool, typer.Option("--monitor", help="The model's monitoring instead of its retraining.")
]
Why = Annotated[str, typer.Option("--reason", help="Why; written to the ledger.")]

_SILENT = 1


def run_now(name: Name, monitor: Monitor = False, as_json: AsJson = False) -> None:
    """Have a schedule's work run as of now, by the worker."""
    from flows.scheduling.planning import start_now

    key = key_of(name, monitor=monitor)
    moment = start_now(Settings(), key)
    if as_json:
        print_json({**key.model_dump(mode="json"), "moment": moment.isoformat()})
    else:
        console.print(f"{key}: the worker runs it as of {shown(moment)} UTC.")


def pause(
    name: Name,
    monitor: Monitor = False,
    actor: Actor = None,
    reason: Why = "paused",
    as_json: AsJson = False,
) -> None:
    """Let a schedule's moments pass by."""
    _set_paused(name, monitor, True, actor, reason, as_json)


def resume(
    name: Name,
    monitor: Monitor = False,
    actor: Actor = None,
    reason: Why = "resumed",
    as_json: AsJson = False,
) -> None:
    """Have a schedule's moments count again, from now on."""
    _set_paused(name, monitor, False, actor, reason, as_json)


def remove(
    name: Name,
    monitor: Monitor = False,
    actor: Actor = None,
    reason: Why = "removed",
    as_json: AsJson = False,
) -> None:
    """Take a schedule away."""
    from flows.scheduling.planning import remove_schedule

    settings, key = Settings(), key_of(name, monitor=monitor)
    remove_schedule(settings, key, actor=actor or settings.actor, reason=reason)
    if as_json:
        print_json({**key.model_dump(mode="json"), "removed": True})
    else:
        console.print(f"{key} is not scheduled any more.")


def check(
    name: Annotated[str | None, typer.Argument(help="Name of a model; default: all.")] = None,
    periods: Annotated[int, typer.Option(help="Moments in a row.", min=1)] = 3,
    as_json: AsJson = False,
) -> None:
    """Say of which schedules no run ended well for some periods; exit code 1 if there are any."""
    from flows.scheduling.silence import silences

    found = silences(Settings(), (name,) if name else (), periods=periods)
    if as_json:
        print_json({"silent": [silence.to_json() for silence in found]})
        if found:
            raise typer.Exit(_SILENT)
    elif found:
        for silence in found:
            console.print(silence.text)
        raise typer.Exit(_SILENT)
    else:
        console.print("No schedule is silent.")


def server(
    stop: Annotated[bool, typer.Option("--stop", help="End the one in the state folder.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say where Prefect's server is; start one in the state folder where there is none."""
    from flows.scheduling.server import ensure_server, stop_server

    settings = Settings()
    if stop:
        was_there = stop_server(settings)
        if as_json:
            print_json({"stopped": was_there})
        else:
            console.print("Stopped." if was_there else "There was none in the state folder.")
        return
    url = ensure_server(settings)
    if as_json:
        print_json({"api_url": url})
    else:
        console.print(f"Prefect's server: {url.removesuffix('/api')}")


def worker(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Models; default: all.")
    ] = None,
) -> None:
    """Run what is due until SIGTERM; what is cut off goes on when a worker starts again."""
    from flows.orchestration import prepare_orchestration
    from flows.workspace import Workspace

    settings = Settings()
    prepare_orchestration(Workspace.open(settings))

    # Prefect reads its settings when it is imported.
    from flows.scheduling.worker import run_worker

    run_worker(settings, tuple(names or ()))


def _set_paused(
    name: str, monitor: bool, paused: bool, actor: str | None, reason: str, as_json: bool
) -> None:
    from flows.scheduling.planning import pause_schedule

    settings, key = Settings(), key_of(name, monitor=monitor)
    schedule = pause_schedule(
        settings, key, paused=paused, actor=actor or settings.actor, reason=reason
    )
    if as_json:
        print_json(schedule.model_dump(mode="json"))
    else:
        console.print(f"{key} {'is paused' if paused else 'counts again from now on'}.")


def key_of(name: str, *, monitor: bool) -> "ScheduleKey":
    """Return what tells a model's schedules apart."""
    from flows.scheduling.schedule import Kind, checked_key

    return checked_key(name, Kind.MONITOR if monitor else Kind.RETRAIN)


def shown(moment: datetime) -> str:
    """Return a moment as people read it, to the minute."""
    return f"{moment:%Y-%m-%d %H:%M}"

"""The command that makes schedules, and the list of them."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from flows.commands.console import console, print_json
from flows.commands.options import Actor, AsJson
from flows.commands.scheduled import (
    Monitor,
    Name,
    Why,
    check,
    key_of,
    pause,
    remove,
    resume,
    run_now,
    server,
    shown,
    worker,
)
from infra.settings import Settings

if TYPE_CHECKING:
    from flows.scheduling.book import ScheduledRun
    from flows.scheduling.schedule import Schedule, ScheduleKey


class _NameFirst(typer.core.TyperGroup):
    """Reads ``schedule NAME …`` as ``schedule set NAME …``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            args = ["set", *args]
        return super().parse_args(ctx, args)


def add_commands(app: typer.Typer) -> None:
    """Register this module's commands."""
    schedule = typer.Typer(
        cls=_NameFirst,
        no_args_is_help=True,
        help="Retrain or monitor a model by the clock: schedule NAME --cron CRON --data URI.",
    )
    schedule.callback()(lambda: None)
    schedule.command("set")(set_schedule)
    schedule.command("list")(list_schedules)
    schedule.command("run")(run_now)
    schedule.command("pause")(pause)
    schedule.command("resume")(resume)
    schedule.command("remove")(remove)
    schedule.command("check")(check)
    schedule.command("server")(server)
    app.add_typer(schedule, name="schedule")
    app.command()(worker)


def set_schedule(
    name: Name,
    cron: Annotated[
        str | None, typer.Option(help='When: five fields, like "0 3 * * *", or @daily.')
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(help="Table or URI; repeat for several. Default: the champion's."),
    ] = None,
    monitor: Monitor = False,
    timezone: Annotated[str, typer.Option(help="Zone of the cron, like Europe/Vienna.")] = "UTC",
    window: Annotated[
        str | None, typer.Option(help="See rows of this long before the moment, like 180d.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="Run configuration (TOML), or limits of the monitoring."),
    ] = None,
    rule: Annotated[Path | None, typer.Option(help="The gate's rule (TOML), from now on.")] = None,
    min_new_labels: Annotated[
        int, typer.Option(help="Wait until so many labels arrived since the last one.", min=0)
    ] = 0,
    rest: Annotated[
        str, typer.Option(help="A monitoring starts no retraining so soon after another.")
    ] = "7d",
    pool: Annotated[
        str, typer.Option(help="Prefect's work pool; default: the one of whitecrow worker.")
    ] = "whitecrow",
    backfill: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="FROM TO", help="Work off the cron's moments of that time, now."),
    ] = None,
    actor: Actor = None,
    reason: Why = "scheduled",
    as_json: AsJson = False,
) -> None:
    """Schedule a model's retraining, or its monitoring; or work off past moments."""
    from flows.moments import RequestError
    from flows.scheduling.schedule import checked_schedule

    settings, key = Settings(), key_of(name, monitor=monitor)
    if rule is not None and (monitor or cron is None):
        raise RequestError("--rule: it is the gate's, for a retraining that is scheduled with it.")
    during = None if backfill is None else _during(backfill)
    url = None
    if cron is not None:
        schedule = checked_schedule(
            **dict(key),
            cron=cron,
            timezone=timezone,
            data=tuple(_absolute(source) for source in data or ()),
            window=window,
            config=config,
            min_new_labels=min_new_labels,
            rest=rest,
            since=datetime.now(UTC),
            pool=pool,
            actor=actor or settings.actor,
            reason=reason,
        )
        url = _put(settings, schedule, rule)
    elif during is None:
        raise RequestError('--cron: say when, like --cron "0 3 * * *" for every day at 3:00.')
    if during is not None:
        _backfill(settings, key, during, as_json=as_json)
    elif as_json:
        print_json({**schedule.model_dump(mode="json"), "api_url": url})
    else:
        _show_made(schedule, url)


def list_schedules(as_json: AsJson = False) -> None:
    """Say what is scheduled, when it is due, and what became of it last."""
    from flows.scheduling.planning import standings

    found = standings(Settings())
    if as_json:
        print_json({"schedules": [standing.to_json() for standing in found]})
        return
    if not found:
        console.print('Nothing is scheduled. whitecrow schedule NAME --cron "0 3 * * *" --data URI')
        return
    table = Table("schedule", "cron", "next", "last", "what became of it", box=None)
    for standing in found:
        schedule, last = standing.schedule, standing.last
        state = "" if last is None else f"{last.state}{': ' if last.why else ''}{last.why}"
        table.add_row(
            str(schedule.key),
            f"{schedule.cron} {schedule.timezone}",
            "paused" if standing.next is None else shown(standing.next),
            "" if last is None else shown(last.moment),
            "under way" if standing.under_way else state,
        )
    console.print(table)


def _put(settings: Settings, schedule: "Schedule", rule: Path | None) -> str:
    from flows.orchestration import prepare_orchestration
    from flows.workspace import Workspace

    prepare_orchestration(Workspace.open(settings))

    # Prefect reads its settings when it is imported.
    from flows.gate.rule import keep_rule, read_rule
    from flows.scheduling.planning import put_schedule

    if rule is not None:
        read_rule(rule)
    url = put_schedule(settings, schedule)
    if rule is not None:
        keep_rule(settings, schedule.name, rule, actor=schedule.actor, reason=schedule.reason)
    return url


def _during(texts: tuple[str, str]) -> tuple[datetime, datetime]:
    from flows.moments import parse_moment

    start, end = (parse_moment(text, "--backfill") for text in texts)
    assert start is not None
    assert end is not None
    return start, end


def _backfill(
    settings: Settings, key: "ScheduleKey", during: tuple[datetime, datetime], *, as_json: bool
) -> None:
    from flows.orchestration import prepare_orchestration
    from flows.scheduling.backfilling import backfill_schedule
    from flows.scheduling.book import ScheduleBook
    from flows.workspace import Workspace

    prepare_orchestration(Workspace.open(settings))
    schedule = ScheduleBook(settings.database).get(key)
    on_moment = None if as_json else _show_run
    done = backfill_schedule(settings, schedule, *during, on_moment=on_moment)
    if as_json:
        print_json(done.to_json())


def _show_run(run: "ScheduledRun") -> None:
    why = run.why or run.details.get("says") or ""
    console.print(f"{shown(run.moment)} UTC  {run.state}{': ' if why else ''}{why}")


def _show_made(schedule: "Schedule", url: str | None) -> None:
    first = schedule.moments.after(datetime.now(UTC))
    due = "never" if first is None else f"{shown(first)} UTC"
    console.print(f"{schedule.key} is scheduled; first due {due}. Prefect: {url}")
    console.print("Next: whitecrow worker")


def _absolute(source: str) -> str:
    from features.ingestion.database import is_database_uri

    return source if is_database_uri(source) else str(Path(source).resolve())

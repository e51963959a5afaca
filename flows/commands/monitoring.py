"""The command that looks at a live model."""

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.console import console, print_json
from flows.commands.options import AsJson, AsOf, Since, Until
from flows.moments import parse_moment
from infra.settings import Settings

_FOUND = 1


def add_commands(app: typer.Typer) -> None:
    """Register this module's commands."""
    app.command()(monitor)


def monitor(
    name: Annotated[str, typer.Argument(help="NAME, NAME@alias or NAME:3.")],
    since: Since = None,
    until: Until = None,
    as_of: AsOf = None,
    data: Annotated[
        str | None, typer.Option("--data", help="A table to score; default: the decision log.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file of limits and targets.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of page and figures.")
    ] = None,
    prometheus: Annotated[
        Path | None, typer.Option(help="Text file for node_exporter, one a model.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say whether inputs, scores, alerts and performance are still what they were.

    Exit code 1 where anything calls for a look or for a retraining.
    """
    from flows.monitoring.request import MonitorRequest
    from flows.monitoring.run import monitor as look

    request = MonitorRequest(
        name=name,
        since=parse_moment(since, "--from"),
        until=parse_moment(until, "--to"),
        as_of=parse_moment(as_of),
        data=data,
        config=config,
        out=out,
        prometheus=prometheus,
    )
    report = look(Settings(), request)
    if as_json:
        print_json(report.to_json())
    else:
        console.print(report.headline)
        for finding in report.findings:
            mark = "estimate, " if finding.is_estimate else ""
            console.print(f"- {finding.says} ({mark}{finding.action})")
        for caution in report.cautions:
            console.print(caution)
        console.print(f"Page: {report.page}")
    if report.action != "none":
        raise typer.Exit(_FOUND)

"""Commands around alerts: out to whoever works them, and what they were, back in."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.console import console, print_json
from flows.commands.options import AsJson, Labels, Model
from flows.commands.reported_rows import first_of, print_left_out
from flows.moments import parse_moment
from infra.settings import Settings


class Format(StrEnum):
    """How alerts are written."""

    CSV = "csv"
    JSONL = "jsonl"


def add_commands(app: typer.Typer) -> None:
    """Register this module's commands."""
    alerts = typer.Typer(no_args_is_help=True, help="Alerts out, and what they turned out to be.")
    alerts.callback()(lambda: None)
    alerts.command("export")(export)
    alerts.command("import")(import_file)
    app.add_typer(alerts, name="alerts")


def export(
    model: Annotated[str | None, typer.Option("--model", "-m", help="Of this model only.")] = None,
    since: Annotated[str | None, typer.Option(help="Received from then on (ISO 8601).")] = None,
    kind: Annotated[Format, typer.Option("--format", help="How to write them.")] = Format.CSV,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File to write.")] = None,
    webhook: Annotated[
        str | None, typer.Option(help="Address to deliver them to, each once, signed.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List open alerts: rows decided review or decline of which no outcome is known."""
    from flows.alerts import alerts_text, check_model, list_alerts, send_alerts, write_alerts

    settings = Settings()
    if model is not None:
        check_model(settings, model)
    alerts = list_alerts(settings, model=model, since=parse_moment(since, "--since"))
    if out is not None:
        write_alerts(alerts, kind.value, out)
    n_delivered = None if webhook is None else send_alerts(settings, alerts, webhook)
    if as_json:
        file = None if out is None else str(out)
        print_json({"alerts": len(alerts), "file": file, "delivered": n_delivered})
        return
    if out is None and webhook is None:
        sys.stdout.write(alerts_text(alerts, kind.value))
    if out is not None:
        console.print(f"{len(alerts):,} open alerts in {out}")
    if n_delivered is not None:
        console.print(f"{n_delivered:,} of {len(alerts):,} open alerts delivered now")


def import_file(
    data: Labels,
    model: Model,
    as_json: AsJson = False,
) -> None:
    """Take outcomes back as labels, and close their alerts."""
    from flows.alerts import import_outcomes

    done = import_outcomes(Settings(), data, model)
    if as_json:
        print_json(done.to_json())
        return
    console.print(
        f"{done.read:,} outcomes read for {done.name}: {done.accepted:,} accepted, "
        f"{done.duplicates:,} known before, {len(done.unknown):,} unknown, "
        f"{len(done.left_out):,} left out; {done.closed:,} alerts closed"
    )
    print_left_out(done.left_out)
    if done.unknown:
        console.print(f"Of these ids the log holds no decision: {first_of(done.unknown)}")

"""Reasons of declined applications, for the notices that go out."""

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.console import console, print_json
from flows.commands.options import AsJson, Model
from flows.moments import parse_moment
from infra.settings import Settings


def add_commands(audit: typer.Typer) -> None:
    """Register this module's commands."""
    audit.command("reasons")(reasons)


def reasons(
    model: Model,
    out: Annotated[Path, typer.Option("--out", "-o", help="CSV file to write.")],
    begin: Annotated[
        str | None, typer.Option("--from", help="Received from then on (ISO 8601).")
    ] = None,
    end: Annotated[str | None, typer.Option("--to", help="Received before (ISO 8601).")] = None,
    as_json: AsJson = False,
) -> None:
    """Write the reasons of every declined application, the strongest first, for its notice."""
    from flows.audit_reasons import write_reasons

    counts = write_reasons(
        Settings(), model, out, begin=parse_moment(begin, "--from"), end=parse_moment(end, "--to")
    )
    if as_json:
        print_json({"file": str(out), **counts})
        return
    console.print(f"{counts['n_declined']:,} declined applications written to {out}")
    if counts["n_by_hard_rule_alone"]:
        console.print(
            f"{counts['n_by_hard_rule_alone']:,} were declined by a hard rule alone: the model "
            "gives no reason for them, and the rule's is for people to word."
        )
    if counts["n_without_reasons"]:
        console.print(
            f"{counts['n_without_reasons']:,} have no reason that may be named: look at them "
            "(whitecrow audit replay DECISION_ID)."
        )

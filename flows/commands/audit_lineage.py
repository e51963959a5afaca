"""Commands of the audit group that follow a version back to its data, and a file forward."""

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.console import console, print_json
from flows.commands.options import AsJson
from infra.settings import Settings

Reference = Annotated[
    str, typer.Argument(help="NAME, NAME@champion, NAME@challenger, NAME:3, or a decision's id.")
]


def add_commands(audit: typer.Typer) -> None:
    """Register this module's commands."""
    audit.command()(show)
    audit.command()(trace)
    audit.command()(export)


def show(
    reference: Reference,
    mlflow: Annotated[bool, typer.Option(help="Ask MLflow for its run.")] = True,
    as_json: AsJson = False,
) -> None:
    """Tell where a version comes from, who made it live, and what it decided."""
    from flows.provenance.gathering import lineage_of
    from flows.provenance.words import show_lineage

    lineage = lineage_of(Settings(), reference, asks_mlflow=mlflow)
    if as_json:
        print_json(lineage.model_dump(mode="json"))
    else:
        show_lineage(lineage, console)


def trace(
    file: Annotated[str, typer.Argument(help="A file, a database query's URI, or a SHA-256.")],
    as_json: AsJson = False,
) -> None:
    """Tell which versions, policies, data sets and decisions a file went into."""
    from flows.provenance.tracing import trace as follow
    from flows.provenance.words import show_trace

    found = follow(Settings(), file)
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        show_trace(found, console)


def export(
    reference: Reference,
    out: Annotated[Path, typer.Option("--out", "-o", help="Page to write: FILE.html.")],
    as_json: AsJson = False,
) -> None:
    """Write the passport of a version: one page for a validator, and a JSON beside it."""
    from flows.passport.export import export_passport
    from flows.passport.gathering import passport_of

    passport = passport_of(Settings(), reference)
    table = export_passport(passport, out)
    lineage = passport.lineage
    if as_json:
        told = {"name": lineage.name, "version": lineage.version}
        print_json(told | {"page": str(out), "table": str(table)})
        return
    console.print(f"Passport of {lineage.name}:{lineage.version}: {out}, and {table} for machines")

"""Commands around the decision log: what was decided, out of it and into files."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from features.durations import parse_duration
from flows.commands.console import console, print_json
from flows.commands.options import Actor, AsJson, Reason
from flows.moments import RequestError, parse_moment
from infra.settings import Settings


def add_commands(app: typer.Typer) -> None:
    """Register this module's commands."""
    decisions = typer.Typer(no_args_is_help=True, help="The decision log: export, retention.")
    decisions.callback()(lambda: None)
    commands: tuple[tuple[str, Callable[..., None]], ...] = (
        ("export", export),
        ("retire", retire),
    )
    for name, command in commands:
        decisions.command(name)(command)
    app.add_typer(decisions, name="decisions")


def export(
    out: Annotated[Path, typer.Option("--out", "-o", help="Parquet file to write.")],
    begin: Annotated[
        str | None, typer.Option("--from", help="Received from then on (ISO 8601).")
    ] = None,
    end: Annotated[str | None, typer.Option("--to", help="Received before (ISO 8601).")] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Of this model only.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write decisions to a Parquet file; nothing personal is in the clear."""
    from flows.decisions import export_decisions

    n_decisions = export_decisions(
        Settings(),
        out,
        begin=parse_moment(begin, "--from"),
        end=parse_moment(end, "--to"),
        model=model,
    )
    if as_json:
        print_json({"file": str(out), "n_decisions": n_decisions})
        return
    console.print(f"{n_decisions:,} decisions written to {out}")


def retire(
    older_than: Annotated[str, typer.Option(help="Days that ended longer ago: 90d.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for what leaves the log.")],
    reason: Reason = "retention",
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Move whole days of the log into files, with a ledger entry each."""
    from flows.decisions import retire_decisions, to_json

    settings = Settings()
    retired = retire_decisions(
        settings, _age(older_than), out, actor=actor or settings.actor, reason=reason
    )
    if as_json:
        print_json(to_json(retired))
        return
    n_decisions = sum(each.n_decisions for each in retired)
    console.print(f"{len(retired)} days with {n_decisions:,} decisions moved to {out}")


def _age(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise RequestError(f"--older-than: {error}.") from None

"""Commands around tables of decided rows."""

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.console import console, print_json
from flows.commands.options import Actor, AsJson, Reason, Since, Until
from infra.settings import Settings


def add_commands(app: typer.Typer) -> None:
    """Register this module's commands."""
    datasets = typer.Typer(
        no_args_is_help=True, help="The service's own traffic, with its labels, as training data."
    )
    datasets.callback()(lambda: None)
    datasets.command("build")(build)
    app.add_typer(datasets, name="dataset")


def build(
    name: Annotated[str, typer.Argument(help="Whose decisions: NAME, NAME@alias or NAME:3.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Parquet file to write.")],
    since: Since = None,
    until: Until = None,
    as_of: Annotated[
        str | None, typer.Option("--as-of", help="Know only the labels of then; default: now.")
    ] = None,
    reason: Reason = "built on request",
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Write decided rows with the labels known by then, and their features as they were served."""
    from flows.datasets.building import build_dataset, summary
    from flows.datasets.request import dataset_request
    from flows.row_progress import row_progress

    settings = Settings()
    asked = dataset_request(
        name=name,
        out=out,
        since=since,
        until=until,
        as_of=as_of,
        actor=actor or settings.actor,
        reason=reason,
    )
    with row_progress("dataset") as on_progress:
        built = build_dataset(settings, asked, on_progress=on_progress)
    if as_json:
        print_json(built.to_json())
        return
    console.print(summary(built))
    if built.is_enough:
        console.print(f"Next: whitecrow retrain {built.description.model} --data {out}")

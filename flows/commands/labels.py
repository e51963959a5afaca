"""Commands around labels that come back: what became of rows that were scored."""

import typer

from flows.commands.console import console, print_json
from flows.commands.options import AsJson, Labels, Model
from flows.commands.reported_rows import print_left_out
from infra.settings import Settings


def add_commands(app: typer.Typer) -> None:
    """Register this module's commands."""
    labels = typer.Typer(no_args_is_help=True, help="Report what became of scored rows.")
    labels.callback()(lambda: None)
    labels.command("import")(import_file)
    app.add_typer(labels, name="labels")


def import_file(
    data: Labels,
    model: Model,
    as_json: AsJson = False,
) -> None:
    """Close alerts, and feed features over time, with labels, as POST /v1/labels does."""
    from flows.labels import import_labels

    done = import_labels(Settings(), data, model)
    if as_json:
        print_json(done.to_json())
        return
    console.print(
        f"{done.read:,} labels read for {done.name}: {done.accepted:,} accepted, "
        f"{done.duplicates:,} known before, {done.unknown:,} of rows not seen yet, "
        f"{len(done.left_out):,} left out"
    )
    print_left_out(done.left_out)

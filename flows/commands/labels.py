"""Commands around labels that come back: what became of rows that were scored."""

from typing import Annotated

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
    labels.command("history")(history)
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
        f"{done.duplicates:,} known before, {done.unknown:,} of rows that the state does not hold, "
        f"{len(done.left_out):,} left out" + (f"; in {done.state}" if done.state else "")
    )
    if done.all_are_unknown:
        console.print(
            "None of these rows is in that state. If a service that keeps another one answered "
            "them (WHITECROW_STATE_URI), import them once more with the same setting."
        )
    if done.contradictory:
        console.print(
            f"{done.contradictory:,} say another label than a report of the very same moment: the "
            "positive one counts. See whitecrow labels history."
        )
    print_left_out(done.left_out)


def history(
    row: Annotated[str, typer.Argument(metavar="ID", help="Of the row, or of its decision.")],
    model: Model,
    as_json: AsJson = False,
) -> None:
    """Show every report on a row: label, when it became known, who said so, when it came in."""
    from flows.label_history import label_history

    found = label_history(Settings(), row, model).to_json()
    if as_json:
        print_json(found)
        return
    console.print(f"Row {row} of {found['name']}: label {found['label']}, by these reports")
    for report in found["reports"]:
        source = "" if report["source"] is None else f", by {report['source']}"
        received = report["received_at"] or "before that was kept"
        console.print(
            f"  label {report['label']}, known from {report['reported_at']}{source}; "
            f"received {received}"
        )

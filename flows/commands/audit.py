"""Commands for whoever has to answer for decisions; each module below adds its own."""

import typer

from flows.commands import audit_lineage


def add_commands(app: typer.Typer) -> None:
    """Register this module's commands."""
    audit = typer.Typer(
        no_args_is_help=True, help="Which model decided what, why, and proof of it."
    )
    audit.callback()(lambda: None)
    for module in (audit_lineage,):
        module.add_commands(audit)
    app.add_typer(audit, name="audit")

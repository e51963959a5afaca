"""Commands for an auditor: which model decided what, why, and proof of it."""

import typer

from flows.commands import audit_erase, audit_reasons, audit_replay, audit_reproduce


def add_commands(app: typer.Typer) -> None:
    """Register the commands of the group ``audit``."""
    audit = typer.Typer(
        no_args_is_help=True, help="Which model decided what, why, and proof of it."
    )
    audit.callback()(lambda: None)
    for module in (audit_replay, audit_reasons, audit_reproduce, audit_erase):
        module.add_commands(audit)
    app.add_typer(audit, name="audit")

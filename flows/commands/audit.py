"""Commands for an auditor: which model decided what, why, and proof of it."""

import typer

from flows.commands import (
    audit_erase,
    audit_lineage,
    audit_reasons,
    audit_replay,
    audit_reproduce,
    audit_verify,
)

_MODULES = (
    audit_lineage, audit_verify, audit_replay, audit_reproduce, audit_reasons, audit_erase,
)  # fmt: skip


def add_commands(app: typer.Typer) -> None:
    """Register the commands of the group ``audit``."""
    audit = typer.Typer(
        no_args_is_help=True, help="Which model decided what, why, and proof of it."
    )
    audit.callback()(lambda: None)
    for module in _MODULES:
        module.add_commands(audit)
    app.add_typer(audit, name="audit")

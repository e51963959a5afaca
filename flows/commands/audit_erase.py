"""Erasing an entity on request."""

from typing import Annotated

import typer
from rich.markup import escape

from flows.commands.console import console, print_json
from flows.commands.options import Actor, AsJson, Model, Reason
from infra.settings import Settings


def add_commands(audit: typer.Typer) -> None:
    """Register this module's commands."""
    audit.command("erase")(erase)


def erase(
    model: Model,
    entity: Annotated[str, typer.Option(help="COLUMN=VALUE, the value as requests give it.")],
    reason: Reason,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Make all that is personal of an entity unreadable for good; chains go on verifying."""
    from flows.audit_erase import erase_entity

    settings = Settings()
    done = erase_entity(settings, model, entity, actor=actor or settings.actor, reason=reason)
    if as_json:
        print_json(done.to_json())
        return
    console.print(
        f"{escape(done.column)} with the pseudonym {done.pseudonym} is erased: "
        f"{done.n_decisions:,} decisions in the log are unreadable in what was personal of them, "
        f"{done.n_state_keys:,} entries of online state are gone (ledger {done.ledger_sequence})."
    )
    for path in done.rules:
        console.print(f"{escape(path)} still names it: take it out of the rules yourself.")
    console.print(
        "Tables that you trained on, feature tables, golden rows of bundles, exports that you "
        "made and backups are not touched: see flows/README.md, Erasure."
    )

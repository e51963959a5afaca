"""Training a released version again."""

from typing import Annotated

import typer

from flows.commands.console import console, print_json
from flows.commands.options import Actor, AsJson, Reason, Seed
from infra.settings import Settings

_DIFFERS = 1


def add_commands(audit: typer.Typer) -> None:
    """Register this module's commands."""
    audit.command("reproduce")(reproduce)


def reproduce(
    reference: Annotated[str, typer.Argument(metavar="REF", help="NAME, NAME@alias or NAME:3.")],
    other_code: Annotated[
        bool, typer.Option("--other-code", help="Go on though other code trained it.")
    ] = False,
    seed: Seed = None,
    reason: Reason = "reproduction",
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Train a version again from its recorded data, configuration and seed, and compare."""
    from flows.audit_reproduce import reproduce as train_again

    settings = Settings()
    found = train_again(
        settings,
        reference,
        actor=actor or settings.actor,
        reason=reason,
        other_code=other_code,
        seed=seed,
    )
    if as_json:
        print_json(found.to_json())
        raise typer.Exit(0 if found.is_identical else _DIFFERS)
    what = f"{found.name}:{found.version}"
    if found.is_identical:
        console.print(f"{what} is reproduced to the bit: {found.found_sha256}")
        return
    console.print(
        f"{what} is not reproduced: SHA-256 {found.recorded_sha256[:12]} recorded, "
        f"{found.found_sha256[:12]} found."
    )
    if found.seed != found.recorded_seed:
        console.print(f"  seed: {found.recorded_seed} recorded, {found.seed} here")
    if found.recorded_code != found.here_code:
        console.print(f"  code: {found.recorded_code} recorded, {found.here_code} here")
    if found.same_features is False:
        console.print("  the feature table is another one: rows were corrected, or code changed")
    for name, each in (found.differences or {}).items():
        console.print(
            f"  {name} of the new one less the released one, on the same test rows: "
            f"{each.value:+.4f} [{each.low:+.4f}, {each.high:+.4f}]"
        )
    console.print(f"Test rows were read for this (ledger {found.ledger_sequence}).")
    raise typer.Exit(_DIFFERS)

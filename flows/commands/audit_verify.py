"""Commands that prove: verification, anchors to be kept elsewhere, and what an outsider needs."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.console import console, print_json
from flows.commands.options import AsJson
from infra.settings import Settings


def add_commands(audit: typer.Typer) -> None:
    """Register this module's commands."""
    commands: tuple[tuple[str, Callable[..., None]], ...] = (
        ("verify", verify),
        ("anchor", anchor),
        ("evidence", evidence),
        ("verifier", verifier),
    )
    for name, command in commands:
        audit.command(name)(command)


def verify(
    anchors: Annotated[
        list[Path] | None, typer.Option("--anchor", help="An anchor that was kept elsewhere.")
    ] = None,
    archive: Annotated[
        Path | None, typer.Option(help="Folder of what left the log: decisions retire.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check that nothing stored was changed: ledger, decision log, bundles and policies."""
    from flows.audit.verification import verify as verified

    findings = verified(Settings(), anchors=anchors or (), archive=archive)
    if as_json:
        print_json(findings.to_json())
    else:
        for line in findings.lines():
            console.print(line, markup=False)
    if not findings.holds:
        raise typer.Exit(1)


def anchor(
    out: Annotated[str, typer.Option("--out", "-o", help="File to write; - for standard output.")],
) -> None:
    """Write where ledger and decision log stand, signed, to be kept where nobody here can write."""
    from flows.audit.anchors import external_anchor
    from infra.storage import write_atomically

    made = external_anchor(Settings())
    content = json.dumps(made, sort_keys=True) + "\n"
    if out == "-":
        sys.stdout.write(content)
    else:
        with write_atomically(out) as staging:
            staging.write_text(content, "utf-8")
        stands = made["statement"]
        console.print(
            f"Ledger entry {stands['ledger']['sequence']} and the heads of "
            f"{len(stands['writers']):,} writers stand in {out}. Keep it elsewhere."
        )
    if made["signature"] is None:
        sys.stderr.write("warning: the anchor is not signed: there is no private key here.\n")


def evidence(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to make.")],
) -> None:
    """Copy ledger, log, bundles, policies and public keys: what the verifier reads, no secret."""
    from flows.audit.evidence import write_evidence

    n_files = write_evidence(Settings(), out)
    console.print(f"{n_files:,} files in {out}. To check them: python verify.py {out}")


def verifier() -> None:
    """Print the verifier as one file that needs Python and nothing else: > verify.py."""
    from infra.verifier.assembled import assembled

    sys.stdout.write(assembled())

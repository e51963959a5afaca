"""The command that packs a service for another machine."""

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.console import console, print_json
from flows.commands.options import AsJson
from infra.settings import Settings


def add_commands(app: typer.Typer) -> None:
    """Register this module's commands."""
    app.command()(package)


def package(
    model: Annotated[
        str | None, typer.Argument(help="NAME, NAME@alias or NAME:3. Without: the service alone.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write. Default: BentoML's store.")
    ] = None,
    extra: Annotated[
        list[str] | None, typer.Option(help="postgres or redis; repeat for both.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Pack the service, with a released model, into a bento that runs elsewhere."""
    from serving.packaging import package_service

    done = package_service(Settings(), model, out=out, extras=extra or ())
    if as_json:
        path = None if done.path is None else str(done.path)
        print_json({"tag": done.tag, "path": path, "packages": done.n_packages})
        return
    if done.path is not None:
        # A whole path: BentoML reads a bare file name as one in the root folder.
        console.print(
            f"{done.path} holds {done.tag}. Unpack it: bentoml import $PWD/{done.path.name}"
        )
    console.print(f"Serve it: WHITECROW_HOST=127.0.0.1 bentoml serve {done.tag}")
    console.print(f"Make an image of it: bentoml containerize {done.tag}")

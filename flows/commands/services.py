"""Commands around the service: the demonstration and the server."""

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.options import AsJson
from infra.settings import Settings


def add_commands(app: typer.Typer) -> None:
    """Register this module's commands."""
    app.command()(demo)
    app.command()(serve)


def demo(
    rows: Annotated[int, typer.Option(help="Simulated transactions.", min=20_000)] = 150_000,
    seed: Annotated[int, typer.Option(help="Seed of the simulation.", min=0)] = 0,
    as_json: AsJson = False,
) -> None:
    """Run the whole path on a simulated card stream, to a scored HTTP request."""
    from flows.demo import run_demo

    run_demo(Settings(), n_rows=rows, seed=seed, as_json=as_json)


def serve(
    model: Annotated[
        list[str] | None, typer.Option(help="A model to serve; repeat for several. Default: all.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 3000,
    workers: Annotated[int, typer.Option(help="Server processes.", min=1)] = 1,
    ssl_certfile: Annotated[Path | None, typer.Option(help="Certificate (PEM), for HTTPS.")] = None,
    ssl_keyfile: Annotated[Path | None, typer.Option(help="Its key (PEM).")] = None,
) -> None:
    """Answer scoring requests over HTTP with the live version of each model."""
    from serving.access.tls import Tls
    from serving.launch import serve as serve_models

    settings = Settings()
    names = tuple(model or settings.served_models)
    serve_models(
        names,
        host=host,
        port=port,
        home=settings.root,
        workers=workers,
        verify_key=settings.verify_key,
        state_uri=settings.state_uri,
        tls=Tls.of(ssl_certfile, ssl_keyfile),
    )

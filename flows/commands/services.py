"""Commands around the service: the demonstration and the server."""

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.console import console, print_json
from flows.commands.options import AsJson
from infra.errors import InputError
from infra.settings import Settings

_DEMO_ROWS = 150_000


def add_commands(app: typer.Typer) -> None:
    """Register this module's commands."""
    app.command()(demo)
    app.command()(serve)


def demo(
    rows: Annotated[
        int | None,
        typer.Option(
            help=f"Simulated transactions; default: {_DEMO_ROWS}, and more of a year.",
            min=20_000,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the simulation.", min=0)] = 0,
    year: Annotated[
        bool, typer.Option("--year", help="A year in production instead: drift, retraining, gate.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="With --year: a new folder for all of it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run the whole path on a simulated card stream, to a scored HTTP request.

    With --year the stream is a year of drift and late labels: monthly retrainings, a fraud that is
    new, a bad challenger, a rollback; what came of them is one page.
    """
    if year:
        _simulate_year(rows, seed, out, as_json=as_json)
        return
    if out is not None:
        raise InputError("--out is for --year; a demonstration without it uses WHITECROW_HOME.")
    from flows.demo import run_demo

    run_demo(Settings(), n_rows=rows or _DEMO_ROWS, seed=seed, as_json=as_json)


def _simulate_year(rows: int | None, seed: int, out: Path | None, *, as_json: bool) -> None:
    if out is None:
        raise InputError("--year needs --out FOLDER: a new one, for state, tables and pages.")
    from flows.year.plan import YearPlan
    from flows.year.run import run_year

    plan = YearPlan(seed=seed) if rows is None else YearPlan(rows=rows, seed=seed)
    outcome = run_year(plan, out)
    if as_json:
        print_json(outcome.to_json())
    else:
        outcome.show(console)


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

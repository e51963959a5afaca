"""The ``whitecrow`` command: what it can do, and how a failure reaches a person.

Commands import what they need when they run, so that ``whitecrow serve`` and ``score`` work
with the ``serve`` extra alone.
"""

import importlib.metadata
import logging
import os
import signal
import sys
import threading
from types import FrameType
from typing import NoReturn

import typer

from flows.commands import (
    alerts,
    audit,
    benchmark,
    data,
    datasets,
    decisions,
    gate,
    keys,
    labels,
    models,
    monitoring,
    packages,
    retraining,
    scheduling,
    services,
)
from flows.commands.console import console, print_failure
from infra.errors import WhitecrowError, is_full_disk
from infra.logs import configure_logs

app = typer.Typer(
    name="whitecrow",
    help="Fraud detection for heavily imbalanced data: from a table and a contract to a service.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for module in (
    services, data, models, gate, benchmark, retraining, monitoring, scheduling, datasets, labels,
    keys, packages, decisions, alerts, audit,
):  # fmt: skip
    module.add_commands(app)

_INTERRUPTED = 130
_BAD_USAGE = 2
_FULL_DISK = (
    "The disk is full. Nothing was released. Free some space, or set WHITECROW_HOME to another one."
)
# The base of every complaint about options and arguments; Typer exports only one of them.
_UsageError: type[Exception] = typer.BadParameter.__bases__[0]


def _print_version(wanted: bool) -> None:
    if wanted:
        console.print(f"whitecrow {importlib.metadata.version('whitecrow')}")
        raise typer.Exit


@app.callback()
def _prepare(
    version: bool = typer.Option(  # noqa: ARG001 - its callback ends the command
        False, "--version", callback=_print_version, is_eager=True, help="Print the version."
    ),
    verbose: bool = typer.Option(False, "--verbose", "-v", help="Log progress to stderr."),
    log_json: bool = typer.Option(False, "--log-json", help="Log lines as JSON."),
) -> None:
    configure_logs(level="INFO" if verbose else "WARNING", as_json=log_json)
    _quiet_dependencies(verbose)


def main() -> None:
    """Run the command line; every expected failure is one line and an exit code."""
    _end_on_sigterm_as_on_ctrl_c()
    try:
        exit_code = app(standalone_mode=False)
    except _UsageError as error:
        _fail(_usage(error), _BAD_USAGE)
    except WhitecrowError as error:
        _fail(str(error), error.exit_code)
    except Exception as error:
        if is_full_disk(error):
            _fail(_FULL_DISK, _BAD_USAGE)
        if not isinstance(error, OSError) or error.errno is None or error.strerror is None:
            raise
        where = f" ({error.filename})" if error.filename else ""
        _fail(f"{error.strerror}{where}. Nothing was released.", _BAD_USAGE)
    except KeyboardInterrupt:
        exit_code = _INTERRUPTED
    if exit_code == _INTERRUPTED:  # Typer turns Ctrl-C into this code
        _fail("Interrupted. Nothing was registered or released.", _INTERRUPTED)
    sys.exit(exit_code)


def _end_on_sigterm_as_on_ctrl_c() -> None:
    """Let what a command has started end with it, such as Prefect's own server."""

    def interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    is_main = threading.current_thread() is threading.main_thread()
    if is_main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, interrupt)


def _fail(message: str, exit_code: int) -> NoReturn:
    if message:
        print_failure(message, as_json="--json" in sys.argv)
    sys.exit(exit_code)


def _usage(error: Exception) -> str:
    """Return a complaint as one line with the way out; nothing where help was shown instead."""
    text = " ".join(error.format_message().split()).rstrip(".")  # type: ignore[attr-defined]
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "whitecrow"
    return f"{text}. See {path} --help." if text else ""


def _quiet_dependencies(verbose: bool) -> None:
    """Keep the libraries' own chatter off the terminal; it never says what to do."""
    level = "INFO" if verbose else "CRITICAL"
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", level)
    # What its store cannot do it raises, and logs with a traceback besides.
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", level)
    # A server's client prints where a run is to be seen, among the JSON for scripts.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    for name in ("DO_NOT_TRACK", "BENTOML_DO_NOT_TRACK", "MLFLOW_DISABLE_TELEMETRY"):
        os.environ.setdefault(name, "true")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    logging.getLogger("alembic").setLevel(logging.WARNING)

"""Prefect's own settings, given before Prefect is imported."""

import os
import signal

from flows.workspace import Workspace


def prepare_orchestration(workspace: Workspace) -> None:
    """Keep Prefect's state in the state folder; a server named by ``PREFECT_API_URL`` is used."""
    home = workspace.root / "prefect"
    home.mkdir(exist_ok=True)
    defaults = {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        # The first start creates a database, which takes its time on a small machine.
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def start_orchestration() -> None:
    """Start Prefect's temporary server where none is named, deaf to Ctrl-C.

    A terminal sends Ctrl-C to every process of the command. The server must outlive it, or the
    flow would wait a minute for an answer instead of ending at once.
    """
    from prefect.server.api.server import SubprocessASGIServer
    from prefect.settings import PREFECT_API_URL

    if PREFECT_API_URL.value():
        return
    # A new process inherits the mask of the thread that starts it.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        SubprocessASGIServer().start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

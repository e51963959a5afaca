"""Prefect's server: the one that ``PREFECT_API_URL`` names, or a local one in the state folder.

Prefect's temporary server, which a single run starts, cannot schedule. The local one is a process
of its own that outlives the command, on this machine's loopback address, with its SQLite database,
its log and a note of who it is in ``HOME/prefect``.
"""

import os
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import httpx
import psutil

from flows.locks import one_at_a_time
from flows.orchestration import prepare_orchestration
from flows.run_folder import read_json, write_json
from flows.workspace import Workspace
from infra.errors import InputError
from infra.settings import Settings

# The first start creates a database.
_STARTED_WITHIN_S = 300.0
_ANSWERS_WITHIN_S = 30.0
_ENDED_WITHIN_S = 15.0
# Servers are not waited for: they outlive what started them.
_STARTED: list[subprocess.Popen[bytes]] = []
_STARTING = "starting Prefect's server"
_LEASES = "prefect.server.concurrency.lease_storage"
_QUIET = {
    # What Prefect itself gives to a server of several processes; it then serves the interface too.
    "PREFECT__SERVER_FINAL": "1",
    # Slots of runs under way outlive a restart of the server.
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": f"{_LEASES}.filesystem",
    "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
    "DO_NOT_TRACK": "true",
}


class ServerUnavailable(InputError):
    """Raised when no Prefect server can be found or started."""


@dataclass(frozen=True, slots=True)
class _LocalServer:
    """Who the local server is: a number alone may be another process's by now."""

    pid: int
    created: float
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api"

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Return what was noted, where that very process still runs."""
        try:
            noted = cls(**read_json(path))
            process = psutil.Process(noted.pid)
            alive = process.create_time() == noted.created
            # What a kill left behind waits for its parent, and is nobody any more.
            alive = alive and process.status() != psutil.STATUS_ZOMBIE
        except (OSError, ValueError, TypeError, psutil.Error):
            return None
        return noted if alive else None


def find_server(settings: Settings) -> str | None:
    """Return the API's URL of the server that answers; None where there is no local one.

    Raises:
        ServerUnavailable: If ``PREFECT_API_URL`` names one that does not answer.
    """
    named = os.environ.get("PREFECT_API_URL")
    if named:
        if not _answers(named, within=_ANSWERS_WITHIN_S):
            raise ServerUnavailable(
                f"No Prefect server answers at {named}. Start it, or unset PREFECT_API_URL "
                "for one in the state folder."
            )
        return named
    local = _LocalServer.read(_note(settings))
    return local.url if local is not None and _answers(local.url, within=0) else None


def ensure_server(settings: Settings) -> str:
    """Return the API's URL of the server, started where there is none.

    Raises:
        ServerUnavailable: If the named one does not answer, or none can be started.
    """
    prepare_orchestration(Workspace.open(settings))
    # Two commands at once start one server.
    with one_at_a_time(
        settings, "prefect-server", doing=_STARTING, actor=settings.actor, waits=True
    ):
        if url := find_server(settings):
            return url
        local = _LocalServer.read(_note(settings))
        if local is not None:
            if _answers(local.url, within=_ANSWERS_WITHIN_S):
                return local.url
            _end(local)
        return _start(settings).url


def stop_server(settings: Settings) -> bool:
    """End the local server and return whether there was one; what it knows stays on disk."""
    local = _LocalServer.read(_note(settings))
    if local is not None:
        _end(local)
    return local is not None


def _start(settings: Settings) -> _LocalServer:
    port = _free_port(settings)
    home = settings.root / "prefect"
    log = home / "server.log"
    environment = {
        **os.environ,
        **_QUIET,
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{home / 'server.db'}",
        "PREFECT_UI_API_URL": f"http://127.0.0.1:{port}/api",
    }
    command = [
        *(sys.executable, "-m", "uvicorn", "--factory", "prefect.server.api.server:create_app"),
        *("--host", "127.0.0.1", "--port", str(port), "--log-level", "error"),
    ]
    with log.open("ab") as stream:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter
            command,
            cwd=home,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            # It outlives the terminal that it was started from.
            start_new_session=True,
        )
    _STARTED.append(process)
    local = _LocalServer(process.pid, psutil.Process(process.pid).create_time(), port)
    write_json(_note(settings), asdict(local))
    deadline = time.monotonic() + _STARTED_WITHIN_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ServerUnavailable(
                f"Prefect's server ended with status {process.returncode} while it started. "
                f"See {log}."
            )
        if _answers(local.url, within=0):
            return local
        time.sleep(0.2)
    _end(local)
    raise ServerUnavailable(
        f"Prefect's server did not answer within {_STARTED_WITHIN_S:.0f} s. See {log}."
    )


def _free_port(settings: Settings) -> int:
    wanted = settings.prefect_port or _last_port(settings)
    for port in (wanted, settings.prefect_port):
        with socket.socket() as free:
            # As servers do: a port that was closed a moment ago is free.
            free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                free.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(free.getsockname()[1])
    raise ServerUnavailable(
        f"Port {wanted} is taken by another program. Set WHITECROW_PREFECT_PORT to a free "
        "one (0 for any), or PREFECT_API_URL to a Prefect server that runs."
    )


def _last_port(settings: Settings) -> int:
    """Return the port of the server that ran before: runs under way look for it there."""
    try:
        return int(read_json(_note(settings))["port"])
    except (OSError, ValueError, TypeError, KeyError):
        return 0


def _answers(url: str, *, within: float) -> bool:
    deadline = time.monotonic() + within
    while True:
        try:
            if httpx.get(f"{url}/health", timeout=5).is_success:
                return True
        except httpx.HTTPError:
            pass
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.5)


def _end(local: _LocalServer) -> None:
    try:
        process = psutil.Process(local.pid)
        process.terminate()
        try:
            process.wait(_ENDED_WITHIN_S)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait(_ENDED_WITHIN_S)
    except psutil.NoSuchProcess:
        pass


def _note(settings: Settings) -> Path:
    return settings.root / "prefect" / "server.json"

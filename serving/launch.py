"""Starting the service, and making sure that nothing of it stays behind."""

import contextlib
import http.client
import math
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from infra.errors import InputError, Refusal
from infra.settings import Settings
from infra.signing import trusted_keys
from serving.access.exposure import check_exposure
from serving.access.keys import KeyStore
from serving.access.tls import Tls
from serving.decisions.opening import open_store
from serving.decisions.store import LogUnreachable
from serving.parent_process import LAUNCHER_PID, PATIENCE_SECONDS
from serving.request_body import BODY_SECONDS
from serving.served_models import ModelSource

_SERVICE = "serving.service:ScoringService"
_STDERR = 2
_MARGIN_SECONDS = 0.5


class PortInUse(InputError):
    """Raised when another program listens on the wanted port."""


class UnknownHost(InputError):
    """Raised when the host to listen on has no address."""


class ServiceNotReady(Refusal):
    """Raised when a service does not become ready in time, or ends instead."""


def serve(
    names: Sequence[str] = (),
    *,
    host: str = "127.0.0.1",
    port: int = 3000,
    home: Path,
    workers: int = 1,
    verify_key: str | None = None,
    state_uri: str | None = None,
    tls: Tls | None = None,
) -> int:
    """Run the service until it is told to stop; return its exit status.

    Args:
        names: Models to serve, the first one as default; empty means every champion.
        host: Address to listen on.
        port: Port to listen on.
        home: The state folder.
        workers: Processes that answer.
        verify_key: Public keys whose signatures count; default: those of the state folder.
        state_uri: Where online state is; default: SQLite files in the state folder.
        tls: Certificate and key to speak HTTPS with; default: plain HTTP.

    Raises:
        PortInUse: If the port is taken.
        UnknownModel: If there is no such model.
        BundleMismatch: If a model does not verify.
    """
    with running_service(
        names,
        host=host,
        port=port,
        home=home,
        workers=workers,
        verify_key=verify_key,
        state_uri=state_uri,
        tls=tls,
    ) as process:
        return process.wait()


@contextlib.contextmanager
def running_service(
    names: Sequence[str] = (),
    *,
    host: str = "127.0.0.1",
    port: int,
    home: Path,
    workers: int = 1,
    verify_key: str | None = None,
    state_uri: str | None = None,
    tls: Tls | None = None,
    auth: bool | None = None,
    log: int | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Start the service and stop it, with all its processes, when the block ends.

    The models are loaded and verified here first, so that a mistake is one line, not a log.

    Args:
        names: Models to serve, the first one as default; empty means every champion.
        host: Address to listen on.
        port: Port to listen on.
        home: The state folder.
        workers: Processes that answer.
        verify_key: Public keys whose signatures count; default: those of the state folder.
        state_uri: Where online state is; default: SQLite files in the state folder.
        tls: Certificate and key to speak HTTPS with; default: plain HTTP.
        auth: Whether requests need an API key; default: as the settings say.
        log: File descriptor for what the service prints; None for this process's standard error.
    """
    host = _address(host)
    check_port_is_free(host, port)
    wants_keys = Settings().auth if auth is None else auth
    check_exposure(host, auth=wants_keys, has_keys=bool(KeyStore(home / "whitecrow.db").all()))
    ModelSource(
        home, names, verify_key=verify_key, state_uri=state_uri, rules=Settings().rules
    ).load_all().close()
    # After the models: where there is none to serve, no log and no secret are made either.
    _check_log(home)
    command = [sys.executable, "-m", "serving.supervisor", "serve", _SERVICE]
    command += ["--host", host, "--port", str(port), *(tls.options if tls else ())]
    # BentoML's own files are of no use after the service, and two services must not share them.
    with tempfile.TemporaryDirectory(prefix="whitecrow-service-") as scratch:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            command,
            env=_environment(names, home, workers, scratch)
            | _front(host, auth=wants_keys)
            | _trust(verify_key, home)
            | _state(state_uri)
            | _log(),
            cwd=scratch,
            # Standard output is for results: BentoML's own lines go where logs go.
            stdout=_STDERR if log is None else log,
            stderr=log,
            start_new_session=True,
        )
        try:
            with _signals_forwarded(process):
                yield process
        finally:
            _stop(process)


def wait_until_ready(url: str, timeout: float = 60.0) -> None:
    """Return as soon as the service at ``url`` is ready to answer.

    Args:
        url: Such as ``http://127.0.0.1:3000``.
        timeout: Seconds to wait.

    Raises:
        ServiceNotReady: If it is not ready by then.
    """
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=1.0) as response:  # noqa: S310
                if response.status == 200:
                    return
        except (OSError, urllib.error.URLError, http.client.HTTPException):
            time.sleep(0.1)
    raise ServiceNotReady(f"The service at {url} is not ready after {timeout:g} s. See its log.")


def check_port_is_free(host: str, port: int) -> None:
    """Raise :class:`PortInUse` if a program listens there already."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As servers do: a port that a stopped service just left counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise PortInUse(
                f"Cannot listen on {host}:{port} ({error.strerror}). Stop the program there, or "
                f"choose another port: --port {port + 1}."
            ) from None


def _address(host: str) -> str:
    """Return the address of a host; BentoML takes addresses only."""
    try:
        address = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0]
    except OSError as error:
        raise UnknownHost(
            f"Cannot listen on {host!r} ({error.strerror}). Use an address of this machine, such "
            "as 127.0.0.1, or 0.0.0.0 for all of them."
        ) from None
    return str(address)


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port that is free right now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def _environment(names: Sequence[str], home: Path, workers: int, scratch: str) -> dict[str, str]:
    # BentoML's own time-out, whose answer has another shape, comes after each of ours.
    patience = math.ceil(BODY_SECONDS + Settings().deadline_seconds + _MARGIN_SECONDS)
    return {
        **os.environ,
        "WHITECROW_HOME": str(home.resolve()),
        "WHITECROW_MODELS": ",".join(names),
        LAUNCHER_PID: str(os.getpid()),
        "BENTOML_HOME": scratch,
        "BENTOML_DO_NOT_TRACK": "True",
        "BENTOML_CONFIG_OPTIONS": (
            f"services.whitecrow.workers={workers} services.whitecrow.traffic.timeout={patience}"
        ),
    }


def _front(host: str, *, auth: bool) -> dict[str, str]:
    """Return what the service knows of the address it listens on, and where its rules are."""
    rules = Settings().rules
    return {
        "WHITECROW_HOST": host,
        "WHITECROW_AUTH": "on" if auth else "off",
        **({"WHITECROW_RULES": str(Path(rules).resolve())} if rules else {}),
    }


def _trust(verify_key: str | None, home: Path) -> dict[str, str]:
    """Return the pinned keys themselves: the service has another working folder for paths."""
    if verify_key is None:
        return {}
    return {"WHITECROW_VERIFY_KEY": trusted_keys(home / "keys", verify_key).as_setting}


def _state(state_uri: str | None) -> dict[str, str]:
    if state_uri is None:
        return {}
    location = state_uri if "://" in state_uri else str(Path(state_uri).resolve())
    return {"WHITECROW_STATE_URI": location}


def _check_log(home: Path) -> None:
    """Refuse a decision log that no service could use; one that is away may come back."""
    settings = Settings(home=home)
    with contextlib.suppress(LogUnreachable):
        open_store(settings).close()


def _log() -> dict[str, str]:
    settings = Settings()
    uris = {"WHITECROW_LOG_URI": settings.log_uri, "WHITECROW_LEDGER_URI": settings.ledger_uri}
    return {
        name: str(Path(uri).resolve()) for name, uri in uris.items() if uri and "://" not in uri
    }


@contextlib.contextmanager
def _signals_forwarded(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Hand SIGTERM and SIGINT to the service while the block runs; its end ends the block."""

    def forward(*_: object) -> None:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)

    # Only the main thread may handle signals; elsewhere they are its owner's to handle.
    is_main = threading.current_thread() is threading.main_thread()
    wanted = (signal.SIGTERM, signal.SIGINT) if is_main else ()
    before = {number: signal.signal(number, forward) for number in wanted}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the service; what does not end when asked is killed, workers included."""
    workers = []
    if process.poll() is None:
        # They lead sessions of their own: what is sent to the supervisor's group misses them.
        workers = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for worker in workers:
        with contextlib.suppress(psutil.NoSuchProcess):
            worker.kill()
    process.wait()

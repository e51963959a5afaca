"""Fixtures that every test may use."""

import logging
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from infra.logs import PACKAGES, loggers

REPOSITORY = Path(__file__).resolve().parents[1]

# How fast examples are made, and run, is the machine's affair.
settings.register_profile("whitecrow", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("whitecrow")


@dataclass
class RedisServer:
    """A server process on a free port of this machine, with an append-only file in a folder."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def uri(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self, *options: str) -> None:
        """Start the process and wait until it answers."""
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        command += ["--dir", str(self.folder), "--appendonly", "yes", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if self._answers():
                return
            time.sleep(0.02)
        raise TimeoutError(f"redis-server on port {self.port} does not answer")

    def kill(self) -> None:
        """End the process as a crash would (kill -9)."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False


@pytest.fixture(autouse=True)
def _loggers_as_imported() -> None:
    """Undo what a command or a server of an earlier test did: ``caplog`` hears the root only."""
    for logger in loggers():
        logger.disabled = False
    for package in PACKAGES:
        logger = logging.getLogger(package)
        logger.handlers.clear()
        logger.setLevel(logging.NOTSET)
        logger.propagate = True


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real data sets; tests that need it are skipped where it is absent."""
    root = Path(os.environ.get("WHITECROW_DATA_ROOT", REPOSITORY / "../shared/data")).resolve()
    if not root.is_dir():
        pytest.skip(f"no real data: {root} is not a folder (set WHITECROW_DATA_ROOT)")
    return root


@pytest.fixture(scope="session")
def postgresql() -> str:
    """A PostgreSQL server as a URI; tests that need one are skipped where none answers."""
    psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed")
    uri = os.environ.get("WHITECROW_TEST_POSTGRESQL", "postgresql://postgres@127.0.0.1:5432/test")
    try:
        psycopg.connect(uri, connect_timeout=3).close()
    except psycopg.OperationalError as error:
        pytest.skip(f"no PostgreSQL server: {str(error).splitlines()[0]}")
    return uri


@pytest.fixture(scope="session")
def new_redis_server(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[], RedisServer]]:
    """Makes Redis servers of our own, not started yet; tests are skipped where there is no Redis.

    Tests may kill them: nobody else's keys are there.
    """
    pytest.importorskip("redis", reason="the extra redis is not installed")
    if shutil.which("redis-server") is None:
        pytest.skip("no Redis: redis-server is not on the PATH")
    made: list[RedisServer] = []

    def make() -> RedisServer:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        made.append(RedisServer(tmp_path_factory.mktemp("redis"), port))
        return made[-1]

    yield make
    for server in made:
        server.kill()


@pytest.fixture(scope="session")
def redis_server(new_redis_server: Callable[[], RedisServer]) -> RedisServer:
    """A running Redis server of this session's own."""
    server = new_redis_server()
    server.start()
    return server


@pytest.fixture
def redis_uri(redis_server: RedisServer) -> str:
    """URI of an empty database on that server."""
    import redis

    with redis.Redis.from_url(redis_server.uri) as client:
        client.flushdb()
    return redis_server.uri

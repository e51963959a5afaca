"""A tracking server that is away, silent or broken: one line, and not after minutes."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from infra.tracking import MlflowException, Tracking
from infra.tracking_answers import PATIENCE, TrackingUnavailable, be_patient, unavailable

RETRIES, TIMEOUT = PATIENCE


@pytest.fixture
def impatient(monkeypatch) -> None:
    monkeypatch.setenv(RETRIES, "1")
    monkeypatch.setenv(TIMEOUT, "1")


@pytest.fixture
def ours(monkeypatch) -> None:
    """The environment says nothing, so that the defaults hold."""
    for name in PATIENCE:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def closed() -> str:
    """URI of a port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


@pytest.fixture
def silent() -> Iterator[str]:
    """URI of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=32) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


class _Answers(BaseHTTPRequestHandler):
    code: int

    def do_GET(self) -> None:
        body = b'{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such run"}'
        self.send_response(self.code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def answering() -> Iterator[Callable[[int], str]]:
    """Starts servers that answer everything with one status code."""
    servers: list[HTTPServer] = []

    def start(code: int) -> str:
        handler = type("_Coded", (_Answers,), {"code": code})
        server = HTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def _said(uri: str, tmp_path) -> str:
    tracking = Tracking(uri, artifact_root=tmp_path)
    with pytest.raises(TrackingUnavailable) as raised:
        tracking.run_tags("0123456789abcdef")
    said = str(raised.value)
    assert said.startswith(f"MLflow at {uri} does not answer: ")
    assert "\n" not in said
    return said


@pytest.mark.usefixtures("impatient")
def test_a_refused_connection_is_told_in_the_systems_words(closed, tmp_path) -> None:
    said = _said(closed, tmp_path)

    assert "does not answer: Connection refused. Start it again" in said


@pytest.mark.usefixtures("impatient")
def test_a_server_that_never_answers_is_given_up(silent, tmp_path) -> None:
    assert "does not answer: nothing came back in time." in _said(silent, tmp_path)


@pytest.mark.usefixtures("impatient")
def test_a_proxy_without_its_server_is_no_answer(answering, tmp_path) -> None:
    assert "503" in _said(answering(503), tmp_path)


@pytest.mark.usefixtures("impatient")
def test_what_a_server_refuses_stays_its_own_word(answering, tmp_path) -> None:
    tracking = Tracking(answering(404), artifact_root=tmp_path)

    with pytest.raises(MlflowException, match="no such run"):
        tracking.run_tags("0123456789abcdef")


@pytest.mark.usefixtures("impatient")
def test_a_new_run_says_how_to_do_without_the_server(closed, tmp_path) -> None:
    tracking = Tracking(closed, artifact_root=tmp_path)

    with pytest.raises(TrackingUnavailable, match="or unset WHITECROW_TRACKING_URI"):
        tracking.start_run("cards", run_name="first", tags={})


@pytest.mark.usefixtures("impatient")
def test_the_environments_own_settings_win(closed, tmp_path) -> None:
    Tracking(closed, artifact_root=tmp_path)

    assert (os.environ[RETRIES], os.environ[TIMEOUT]) == ("1", "1")


@pytest.mark.usefixtures("ours")
def test_without_them_ours_hold() -> None:
    be_patient()

    assert {name: os.environ[name] for name in PATIENCE} == PATIENCE


def test_a_password_in_the_address_is_not_shown() -> None:
    said = str(unavailable("https://ana:secret@mlflow.example.org", OSError("away")))

    assert "secret" not in said
    assert "MLflow at https://mlflow.example.org does not answer: away." in said


@pytest.mark.slow
@pytest.mark.usefixtures("ours")
@pytest.mark.parametrize(("kind", "seconds"), [("closed", 30), ("silent", 100)])
def test_by_default_it_takes_no_minutes(request, kind, seconds, tmp_path) -> None:
    uri = request.getfixturevalue(kind)
    began = time.monotonic()

    _said(uri, tmp_path)

    # MLflow's own settings: four minutes and more, and twenty.
    assert time.monotonic() - began < seconds

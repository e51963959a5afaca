"""Prefect's server is found, told apart from whatever else runs, or started once."""

import json
import os
import socket
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest

from flows.scheduling.server import ServerUnavailable, ensure_server, find_server, stop_server
from infra.settings import Settings

pytestmark = pytest.mark.xdist_group("scheduling")


@pytest.fixture(autouse=True)
def _no_named_server(monkeypatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)


def note(settings: Settings, **values: object) -> None:
    path = settings.root / "prefect" / "server.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(values))


def test_a_server_that_runs_is_found_and_not_started_again(whitecrow, settings) -> None:
    from prefect.settings import PREFECT_API_URL

    url = str(PREFECT_API_URL.value())
    port = httpx.URL(url).port
    # The session's own server, as if the state folder had started it.
    (server,) = (child for child in psutil.Process().children() if str(port) in child.cmdline())
    note(settings, pid=server.pid, created=server.create_time(), port=port)

    assert url == ensure_server(settings) == find_server(settings)
    assert not (settings.root / "prefect" / "server.db").exists()


def test_a_number_that_another_process_has_by_now_is_no_server(settings) -> None:
    created = psutil.Process().create_time()
    note(settings, pid=os.getpid(), created=created - 1000, port=4200)

    assert find_server(settings) is None
    assert not stop_server(settings)


@pytest.mark.parametrize("text", ["", "{}", '{"pid": "x"}', "[1]"])
def test_a_damaged_note_is_no_server(settings, text) -> None:
    note(settings)
    (settings.root / "prefect" / "server.json").write_text(text)

    assert find_server(settings) is None


def test_a_port_that_is_taken_is_one_line(settings) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        with pytest.raises(ServerUnavailable, match=f"Port {port} is taken by another program"):
            ensure_server(Settings(home=settings.home, prefect_port=port))


def test_a_named_server_that_does_not_answer_is_one_line(settings, monkeypatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")
    monkeypatch.setattr("flows.scheduling.server._ANSWERS_WITHIN_S", 0.0)

    with pytest.raises(ServerUnavailable, match="No Prefect server answers at http://127.0.0.1:1"):
        ensure_server(settings)


def test_a_server_that_ends_while_it_starts_is_said_with_its_log(settings, monkeypatch) -> None:
    monkeypatch.setenv("PREFECT_SERVER_DATABASE_TIMEOUT", "soon")

    with pytest.raises(ServerUnavailable, match=r"ended with status 1 .* See .*server\.log"):
        ensure_server(settings)


@pytest.mark.slow
def test_two_that_ask_at_once_start_one_server(settings) -> None:
    with ThreadPoolExecutor() as pool:
        urls = list(pool.map(ensure_server, [settings] * 2))

    try:
        assert urls[0] == urls[1] == find_server(settings)
        assert httpx.get(f"{urls[0]}/health").is_success
        assert (settings.root / "prefect" / "server.db").is_file()
    finally:
        assert stop_server(settings)
    assert not stop_server(settings)


@pytest.mark.slow
def test_a_server_comes_back_at_its_port_and_forgets_nothing(settings, make) -> None:
    from flows.scheduling.deployments import Deployments

    schedule = make()
    url = ensure_server(settings)
    with Deployments.at(url) as deployments:
        deployments.put(schedule)

    assert stop_server(settings)
    assert find_server(settings) is None
    try:
        assert url == ensure_server(settings)
        with Deployments.at(url) as deployments:
            assert deployments.find(schedule.key) is not None
    finally:
        stop_server(settings)

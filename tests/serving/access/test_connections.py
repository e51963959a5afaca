"""Real sockets that never send what they promised are cut off, and hold up nobody meanwhile."""

import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from serving.access.connections import ARRIVAL_SECONDS, HEAD_BYTES
from serving.launch import free_port, running_service, wait_until_ready

HEAD = b"POST /v1/score HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


@contextlib.contextmanager
def connected(guarded, n: int = 1) -> Iterator[list[socket.socket]]:
    """Open connections to the service."""
    with contextlib.ExitStack() as stack:
        address = ("127.0.0.1", guarded.port)
        yield [stack.enter_context(socket.create_connection(address, 30)) for _ in range(n)]


def rest(connection: socket.socket) -> bytes:
    """Everything that is sent until the service closes."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(1 << 16):
            parts.append(part)
    return b"".join(parts)


def error_in(response: bytes) -> tuple[int, str]:
    head, _, body = response.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["error"]["code"]


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (HEAD[:30], 408, "head_too_slow"),
        (HEAD, 408, "head_too_slow"),
    ],
)
def test_a_head_that_never_ends_is_cut_off(guarded, sent: bytes, status: int, code: str) -> None:
    with connected(guarded) as (connection,):
        connection.sendall(sent)
        assert error_in(rest(connection)) == (status, code)


def test_a_connection_that_says_nothing_is_closed(guarded) -> None:
    with connected(guarded) as (connection,):
        assert rest(connection) == b""


def test_a_body_that_never_comes_is_cut_off(guarded) -> None:
    key = guarded.keys["score"].encode()
    with connected(guarded) as (connection,):
        connection.sendall(
            HEAD + b"Authorization: Bearer " + key + b"\r\nContent-Length: 9\r\n\r\n{"
        )
        assert error_in(rest(connection)) == (408, "body_too_slow")


def test_who_has_no_key_cannot_hold_a_connection_with_a_body(guarded) -> None:
    with connected(guarded) as (connection,):
        connection.sendall(HEAD + b"Content-Length: 1000\r\n\r\n{")
        assert error_in(rest(connection)) == (401, "missing_key")


def test_a_head_without_end_is_refused_while_it_comes(guarded) -> None:
    with connected(guarded) as (connection,):
        with contextlib.suppress(ConnectionError):
            for at in range(3 * HEAD_BYTES // 1000):
                connection.sendall(b"%sX-%d: %s\r\n" % (b"" if at else HEAD, at, b"x" * 990))
        response = rest(connection)
    assert response == b"" or error_in(response) == (431, "head_too_large")


@pytest.mark.parametrize(
    "sent", [b"\x16\x03\x01\x02\x00\x01\x00", b"GET / FOO/9\r\n\r\n", b"\x00" * 100, b"{}\r\n\r\n"]
)
def test_what_is_no_http_gets_the_one_shape(guarded, sent: bytes) -> None:
    with connected(guarded) as (connection,):
        connection.sendall(sent)
        assert error_in(rest(connection)) == (400, "malformed_http")


def test_two_hundred_slow_ones_do_not_stop_the_others(guarded, shop_row) -> None:
    with connected(guarded, 200) as slow, guarded.client("score") as client:
        for at, connection in enumerate(slow):
            connection.sendall((b"", HEAD[:20], HEAD, HEAD + b"Content-Length: 5\r\n\r\n{")[at % 4])
        give_up_at = time.monotonic() + ARRIVAL_SECONDS + 20
        still_open, answered = slow, 0
        while still_open and time.monotonic() < give_up_at:
            assert client.post("/v1/score", json=shop_row()).status_code == 200
            answered += 1
            still_open = [each for each in still_open if not _is_closed(each)]

        assert answered > 0
        assert still_open == [], "all of them were cut off"


def test_requests_in_a_row_on_one_connection_are_all_answered(guarded, shop_row) -> None:
    body = json.dumps(shop_row()).encode()
    key = guarded.keys["score"].encode()
    request = HEAD + b"Authorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s" % (
        key, len(body), body,
    )  # fmt: skip
    with connected(guarded) as (connection,):
        connection.sendall(request * 3 + HEAD + b"Connection: close\r\nContent-Length: 2\r\n\r\n{}")
        response = rest(connection)

    assert response.count(b"HTTP/1.1 200") == 3
    assert response.count(b"HTTP/1.1 401") == 1


def test_idle_connections_beyond_the_limit_are_refused_until_one_ends(
    new_home, shop_row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHITECROW_MAX_CONNECTIONS", "20")
    new_home(tmp_path)
    port = free_port()
    address, url = ("127.0.0.1", port), f"http://127.0.0.1:{port}"
    with (
        (tmp_path / "service.log").open("w") as log,
        running_service(["shop"], port=port, home=tmp_path, log=log.fileno()),
        contextlib.ExitStack() as stack,
    ):
        wait_until_ready(url, timeout=60)
        time.sleep(0.5)  # the connections of the waiting end
        idle = [stack.enter_context(socket.create_connection(address, 30)) for _ in range(20)]
        beyond = [stack.enter_context(socket.create_connection(address, 30)) for _ in range(5)]
        refusals = {error_in(rest(each)) for each in beyond}
        still_open = [each for each in idle if not _is_closed(each)]
        for each in idle:
            each.close()
        give_up_at, status = time.monotonic() + 20, 503
        while status == 503 and time.monotonic() < give_up_at:
            with contextlib.suppress(httpx.TransportError):
                status = httpx.post(f"{url}/v1/score", json=shop_row(), timeout=10).status_code

    assert refusals == {(503, "too_many_connections")}
    assert len(still_open) == 20
    assert status == 200


@pytest.mark.parametrize(
    ("soft", "hard", "printed"),
    [
        (100, 5_000, "1256 1000"),  # raised for a thousand connections and what else is open
        (2_000, 5_000, "2000 1000"),  # left alone
        (100, 300, "300 44"),  # no more than the system grants
    ],
)
def test_descriptors_are_made_room_for(soft: int, hard: int, printed: str) -> None:
    code = (
        "import resource; from serving.access.connections import BoundedHttp, limit_connections; "
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard})); limit_connections(1000); "
        "print(resource.getrlimit(resource.RLIMIT_NOFILE)[0], BoundedHttp.most)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == printed


def _is_closed(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        while connection.recv(1 << 16):
            pass
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True
    return True

"""A service that is killed, and clients that are: what anybody was told is in the log."""

import os
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from features.contract import parse_contract
from features.online.opening import open_state
from serving.decisions.chain import verify_groups
from serving.launch import free_port, running_service, wait_until_ready

_CLIENTS = 6
_SECONDS = 2.0


def _send_until_it_breaks(
    url: str, rows: list[dict[str, Any]], answers: dict[str, bytes], gone: threading.Event
) -> None:
    with httpx.Client(base_url=url, timeout=5) as client:
        for row in rows:
            try:
                response = client.post("/v1/score", json=row)
            except httpx.HTTPError:
                return
            if response.status_code == 200:
                answers[response.json()["decision_id"]] = response.content
            if gone.is_set():
                return


@pytest.mark.slow
def test_every_answer_of_a_killed_service_is_in_the_log_and_in_the_state(
    corner: Any, corner_contract, shop_row, monkeypatch: pytest.MonkeyPatch
) -> None:
    if corner.uri is not None:
        monkeypatch.setenv("WHITECROW_LOG_URI", corner.uri)
    monkeypatch.setenv("WHITECROW_DEADLINE_SECONDS", "5")
    port, answers, gone = free_port(), dict[str, bytes](), threading.Event()
    url = f"http://127.0.0.1:{port}"
    clients = []
    with (
        (corner.home / "service.log").open("w") as log,
        running_service(
            ["corner"], port=port, home=corner.home, workers=2, log=log.fileno()
        ) as process,
    ):
        wait_until_ready(url)
        for at in range(_CLIENTS):
            rows = [shop_row(ORDER_ID=at * 100_000 + n, CUSTOMER=at) for n in range(20_000)]
            sender = threading.Thread(target=_send_until_it_breaks, args=(url, rows, answers, gone))
            clients.append(sender)
            sender.start()
        time.sleep(_SECONDS)
        os.killpg(process.pid, signal.SIGKILL)
        gone.set()
        for sender in clients:
            sender.join()

    records = {
        record.decision_id: record
        for group in corner.store().groups()
        for record in group.decoded()
    }
    assert len(answers) > _CLIENTS, (corner.home / "service.log").read_text()[-3000:]
    assert {name: records[name].answer for name in answers} == answers
    assert sum(verify_groups(corner.store().groups()).values()) == len(records)

    corner.serve("corner")
    state = open_state(
        parse_contract(corner_contract, source="tests"), folder=corner.home / "state"
    )
    assert state.describe().n_events == len(records)
    state.close()


def test_a_client_that_leaves_before_its_answer_changes_nothing(
    sqlite_place: Any, new_home, shop_row
) -> None:
    new_home(sqlite_place.home)
    port = free_port()
    with (
        (sqlite_place.home / "service.log").open("w") as log,
        running_service(["shop"], port=port, home=sqlite_place.home, log=log.fileno()),
    ):
        wait_until_ready(f"http://127.0.0.1:{port}")
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            body = client.build_request("POST", "/v1/score", json=shop_row(ORDER_ID=5)).content
            address = urlsplit(str(client.base_url))
            with socket.create_connection((address.hostname, address.port)) as connection:
                head = f"POST /v1/score HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
                connection.sendall(head.encode() + body)
            retried = client.post("/v1/score", json=shop_row(ORDER_ID=5))
            decision_id = retried.json()["decision_id"]
            shown = client.get(f"/v1/decisions/{decision_id}")
            told = client.get("/v1/model").json()["decision_log"]
            unknown = client.get("/v1/decisions/00000000-0000-7000-8000-000000000000")

    (record,) = [r for g in sqlite_place.store().groups() for r in g.decoded()]
    assert record.answer == retried.content
    assert shown.json()["decision_id"] == decision_id
    assert shown.json()["latency_ms"]["model"] > 0
    assert told == {
        "location": str(sqlite_place.home / "decisions.db"),
        "reachable": True,
        "decisions_waiting": 0,
    }
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "unknown_decision")
    assert Path(sqlite_place.home / "service.log").exists()

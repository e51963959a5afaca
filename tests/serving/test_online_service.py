"""Features over time behind a real server: restarts, retries, labels, a store that goes away."""

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from features.contract import parse_contract
from features.online.events import Event
from features.online.opening import open_state
from serving.http import ScoringApp
from serving.launch import free_port, running_service, wait_until_ready
from serving.served_models import ModelSource


@contextmanager
def served(home: Path, **options: Any) -> Iterator[httpx.Client]:
    """A server for the state folder's model; its log lies in the folder."""
    port = free_port()
    with (
        (home / "service.log").open("a") as log,
        running_service(["corner"], port=port, home=home, log=log.fileno(), **options),
    ):
        url = f"http://127.0.0.1:{port}"
        wait_until_ready(url, timeout=60)
        with httpx.Client(base_url=url, timeout=10) as client:
            yield client


# What Redis acknowledges survives its own kill -9.
SAFE = ("--appendfsync", "always")


class InProcess:
    """The application without a server around it."""

    def __init__(self, app: ScoringApp) -> None:
        self._app = app

    def post(self, path: str, **request: Any) -> httpx.Response:
        return asyncio.run(self._send("POST", path, **request))

    def get(self, path: str) -> httpx.Response:
        return asyncio.run(self._send("GET", path))

    async def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        transport = httpx.ASGITransport(self._app)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://corner") as client:
            return await client.request(method, path, **request)


@contextmanager
def in_process(home: Path, **options: Any) -> Iterator[InProcess]:
    """The application for the state folder's model."""
    app = ScoringApp()
    models = ModelSource(home, **options).load_all()
    app.serve(models)
    yield InProcess(app)
    models.close()


@pytest.fixture(scope="module")
def home(new_home, corner_contract, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("corner")
    new_home(folder, contract=corner_contract)
    return folder


@pytest.fixture(scope="module")
def client(home: Path) -> Iterator[httpx.Client]:
    """A server on an empty SQLite state; each test has customers of its own."""
    with served(home) as client:
        yield client


def logit(answer: dict[str, Any]) -> float:
    return float(np.log(answer["risk_score"] / (1 - answer["risk_score"])))


def send(client: "httpx.Client | InProcess", row: dict[str, Any]) -> dict[str, Any]:
    response = client.post("/v1/score", json=row)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def test_an_empty_state_is_said_to_be_empty_with_the_way_out(
    client: httpx.Client, home: Path
) -> None:
    lines = [json.loads(line) for line in (home / "service.log").read_text().splitlines()
             if "online state is empty" in line]  # fmt: skip

    assert lines
    assert "whitecrow backfill DATA --contract corner" in lines[0]["event"]


def test_rows_count_for_later_rows_single_and_in_batches(client: httpx.Client, shop_row) -> None:
    first = send(client, shop_row(ORDER_ID=100, CUSTOMER=100))
    rows = [shop_row(ORDER_ID=101, CUSTOMER=100, PLACED_AT="2026-03-01T13:00:00Z"),
            shop_row(ORDER_ID=102, CUSTOMER=100, PLACED_AT="2026-03-01T14:00:00Z")]  # fmt: skip

    batch = client.post("/v1/score/batch", json={"rows": rows}).json()["results"]
    retried = client.post("/v1/score/batch", json={"rows": rows}).json()["results"]

    assert [logit(answer) for answer in (first, *batch)] == pytest.approx(
        [-1.5, -0.9, -0.3], abs=1e-5
    )
    assert [answer["risk_score"] for answer in retried] == [
        answer["risk_score"] for answer in batch
    ]


@pytest.mark.parametrize(
    ("change", "status", "code", "field"),
    [
        ({"AMOUNT": 7.0}, 409, "id_reused", "ORDER_ID"),
        ({"ORDER_ID": 201, "PLACED_AT": "2999-01-01T00:00:00Z"}, 400, "clock_skew", "PLACED_AT"),
    ],
)
def test_refusals_of_the_state_have_the_one_shape(
    client: httpx.Client, shop_row, *, change: dict[str, Any], status: int, code: str, field: str
) -> None:
    row = shop_row(ORDER_ID=200, CUSTOMER=200)
    send(client, row)

    response = client.post("/v1/score", json=row | change)

    error = response.json()["error"]
    assert response.status_code == status
    assert (error["code"], error["field"], error["retry"]) == (code, field, False)


def test_labels_come_back_and_move_scores(client: httpx.Client, shop_row) -> None:
    send(client, shop_row(ORDER_ID=300, CUSTOMER=300))
    asked = shop_row(ORDER_ID=301, CUSTOMER=300, PLACED_AT="2026-03-04T12:00:00Z")
    report = {"id": 300, "label": 1, "reported_at": "2026-03-03T00:00:00Z", "source": "chargeback"}

    before = send(client, asked)
    counts = client.post("/v1/labels", json={"labels": [report, report | {"id": "never"}]}).json()
    named = client.post("/v1/models/corner/labels", json={"labels": [report]}).json()
    after = send(client, asked | {"ORDER_ID": 302})
    again = send(client, asked)

    assert again == before, "what was decided stays"
    assert counts == {"accepted": 1, "duplicates": 0, "unknown": 1, "contradictory": 0}
    assert named == {"accepted": 0, "duplicates": 1, "unknown": 0, "contradictory": 0}
    assert [logit(answer) for answer in (before, after)] == pytest.approx([-1.5, 0.5], abs=1e-5)


def test_the_document_says_what_features_over_time_mean(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    scoring, labels = (document["paths"][f"/v1/{name}"]["post"] for name in ("score", "labels"))
    example = labels["requestBody"]["content"]["application/json"]["example"]

    assert "counts for later ones" in scoring["description"]
    assert {"409", "503"} <= set(scoring["responses"])
    assert client.post("/v1/labels", json=example).json() == {
        "accepted": 0, "duplicates": 0, "unknown": 1, "contradictory": 0,
    }  # fmt: skip
    assert "POST /v1/labels" in client.get("/docs").text
    assert client.get("/v1/model").json()["online_state"] == {
        "reachable": True, "events_waiting": 0,
    }  # fmt: skip


def test_another_process_goes_on_where_one_ended(
    new_home, corner_contract, shop_row, tmp_path: Path
) -> None:
    new_home(tmp_path, contract=corner_contract)
    with in_process(tmp_path) as client:
        send(client, shop_row(ORDER_ID=1))
    with served(tmp_path, workers=2) as client:
        later = [send(client, shop_row(ORDER_ID=2, PLACED_AT="2026-03-01T13:00:00Z"))
                 for _ in range(6)]  # fmt: skip

    assert [logit(answer) for answer in later] == pytest.approx([-0.9] * 6, abs=1e-5)


def test_a_store_that_is_away_degrades_and_nothing_is_lost(
    new_home, new_redis_server, corner_contract, shop_row, tmp_path: Path
) -> None:
    redis = new_redis_server()
    new_home(tmp_path, contract=corner_contract)
    with in_process(tmp_path, state_uri=redis.uri) as client:
        blind = [send(client, shop_row(ORDER_ID=1))]
        redis.start(*SAFE)
        recovered = [_once_back(client, shop_row(ORDER_ID=2, PLACED_AT="2026-03-01T13:00:00Z"))]
        redis.kill()
        blind.append(send(client, shop_row(ORDER_ID=3, PLACED_AT="2026-03-01T14:00:00Z")))
        labels = client.post("/v1/labels", json={"labels": [{"id": 1, "label": 1}]})
        waiting = client.get("/v1/model").json()["online_state"]
        redis.start(*SAFE)
        recovered.append(_once_back(client, shop_row(ORDER_ID=4, PLACED_AT="2026-03-01T15:00:00Z")))

    assert [(each["decision"], each["degraded"]) for each in blind] == [("review", True)] * 2
    assert [logit(each) for each in blind] == pytest.approx([-1.5, -1.5], abs=1e-5)
    assert (labels.status_code, labels.json()["error"]["code"]) == (503, "state_unavailable")
    assert waiting == {"reachable": False, "events_waiting": 1}
    assert [logit(each) for each in recovered] == pytest.approx([-0.9, 0.3], abs=1e-5)


def test_a_store_that_is_away_is_503_where_the_policy_refuses(
    new_home, new_redis_server, corner_contract, shop_row, tmp_path: Path
) -> None:
    redis = new_redis_server()
    redis.start()
    new_home(tmp_path, contract=corner_contract | {"policy": {"on_stall": "refuse"}})
    with in_process(tmp_path, state_uri=redis.uri) as client:
        send(client, shop_row(ORDER_ID=1))
        redis.kill()
        away = client.post("/v1/score", json=shop_row(ORDER_ID=2))
        in_batch = client.post("/v1/score/batch", json={"rows": [shop_row(ORDER_ID=2), {}]})

    error = away.json()["error"]
    assert (away.status_code, error["code"], error["retry"]) == (503, "state_unavailable", True)
    assert [each["error"]["code"] for each in in_batch.json()["results"]] == [
        "state_unavailable", "missing_field",
    ]  # fmt: skip


def _once_back(client: "InProcess", row: dict[str, Any]) -> dict[str, Any]:
    """Send a row until the store is asked again and answers."""
    for _ in range(200):
        answer = send(client, row)
        if not answer["degraded"]:
            return answer
        time.sleep(0.02)
    pytest.fail("the store did not come back")


def test_an_entity_with_far_more_events_than_others_is_named_at_the_start(
    new_home, corner_contract, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    contract = parse_contract(corner_contract, source="tests")
    new_home(tmp_path, contract=corner_contract)
    state = open_state(contract, folder=tmp_path / "state")
    state.apply([Event(str(at), at * 1_000_000, 100, ("77",), ()) for at in range(20_000)])
    state.close()

    with in_process(tmp_path):
        pass

    (record,) = [each for each in caplog.records if "hot entity" in each.message]
    assert (record.entity, record.n_events) == ("CUSTOMER", 20_000)

"""Test identities force each answer and each error, and leave no trace."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.access.admission import Limits
from serving.access.gate import Gate
from serving.http import ScoringApp
from serving.served_models import ModelSource

Ask = Callable[..., httpx.Response]


def _asker(home: Path, *, test_identities: bool) -> Ask:
    app = ScoringApp()
    gate = Gate(home / "whitecrow.db", address="127.0.0.1")
    app.guard(gate, Limits(deadline_seconds=0.1), test_identities=test_identities)
    app.serve(ModelSource(home).load_all())

    async def send(method: str, path: str, **request: Any) -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
            return await client.request(method, path, **request)

    return lambda *args, **request: asyncio.run(send(*args, **request))


@pytest.fixture
def ask(new_home, tmp_path: Path) -> Ask:
    new_home(tmp_path)
    return _asker(tmp_path, test_identities=True)


@pytest.mark.parametrize("decision", ["approve", "review", "decline"])
def test_each_decision_can_be_forced(ask: Ask, shop_row, decision: str) -> None:
    plain = ask("POST", "/v1/score", json=shop_row(AMOUNT=400.0)).json()
    forced = ask(
        "POST", "/v1/score", json=shop_row(ORDER_ID=f"test:{decision}:7", AMOUNT=400.0)
    ).json()

    assert set(forced) == set(plain)
    assert (forced["decision"], forced["id"]) == (decision, f"test:{decision}:7")
    assert "test_identity" in forced["flags"]
    assert forced["risk_score"] == plain["risk_score"]
    assert bool(forced["reasons"]) == (decision != "approve")


@pytest.mark.parametrize(
    ("status", "code", "retry"),
    [
        (400, "malformed_json", False), (401, "unknown_key", False), (403, "missing_scope", False),
        (404, "unknown_model", False), (408, "body_too_slow", True), (409, "id_reused", False),
        (413, "body_too_large", False), (415, "unsupported_media_type", False),
        (422, "missing_field", False), (429, "rate_limited", True), (500, "internal_error", True),
        (503, "deadline_exceeded", True),
    ],
)  # fmt: skip
def test_each_error_can_be_forced(ask: Ask, shop_row, status: int, code: str, retry: bool) -> None:
    response = ask("POST", "/v1/score", json=shop_row(ORDER_ID=f"test:error:{status}"))

    error = response.json()["error"]
    assert (response.status_code, error["code"], error["retry"]) == (status, code, retry)
    assert "test identity" in error["message"]
    assert ("retry-after" in response.headers) == (status in {429, 503})


@pytest.mark.parametrize("identity", ["test:", "test:maybe", "test:error", "test:error:418"])
def test_other_test_identities_are_refused_with_those_that_there_are(
    ask: Ask, shop_row, identity: str
) -> None:
    response = ask("POST", "/v1/score", json=shop_row(ORDER_ID=identity))

    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (422, "unknown_test_identity")
    assert "test:decline" in error["message"]
    assert "503" in error["message"]


def test_a_slow_one_waits(ask: Ask, shop_row, monkeypatch: pytest.MonkeyPatch) -> None:
    waited = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr("serving.forced_answers.asyncio.sleep", sleep)
    answer = ask("POST", "/v1/score", json=shop_row(ORDER_ID="test:slow")).json()

    assert (answer["decision"], waited) == ("approve", [0.05])


def test_in_a_batch_they_stand_in_their_places(ask: Ask, shop_row) -> None:
    ids = [1, "test:decline", 2, "test:error:503", "test:slow"]
    rows = [*(shop_row(ORDER_ID=each) for each in ids), 7]

    results = ask("POST", "/v1/score/batch", json={"rows": rows}).json()["results"]

    assert [result.get("id") for result in results] == [
        "1", "test:decline", "2", None, "test:slow", None,
    ]  # fmt: skip
    assert results[1]["decision"] == "decline"
    assert results[3]["error"]["code"] == "deadline_exceeded"
    assert results[5]["error"]["code"] == "wrong_type"


def test_a_forced_row_is_still_read_by_the_contract(ask: Ask, shop_row) -> None:
    response = ask("POST", "/v1/score", json=shop_row(ORDER_ID="test:approve", AMOUNT="1"))

    assert (response.status_code, response.json()["error"]["field"]) == (422, "AMOUNT")


def test_they_are_ordinary_ids_unless_switched_on(new_home, shop_row, tmp_path: Path) -> None:
    new_home(tmp_path)
    ask = _asker(tmp_path, test_identities=False)

    answer = ask("POST", "/v1/score", json=shop_row(ORDER_ID="test:decline")).json()

    assert answer["decision"] != "decline"
    assert "test_identity" not in answer["flags"]
    assert "test_identities" not in ask("GET", "/v1/model").json()


def test_they_leave_no_trace_in_the_state(
    new_home, corner_contract, shop_row, tmp_path: Path
) -> None:
    new_home(tmp_path, contract=corner_contract)
    ask = _asker(tmp_path, test_identities=True)

    def score() -> float:
        return ask("POST", "/v1/score", json=shop_row(ORDER_ID="test:review")).json()["risk_score"]

    before = [score(), score()]
    real = ask("POST", "/v1/score", json=shop_row(ORDER_ID=1)).json()["risk_score"]
    later = shop_row(ORDER_ID=2, PLACED_AT="2026-03-01T13:00:00Z")

    assert before == [real, real], "no count of the customer's earlier rows"
    assert ask("POST", "/v1/score", json=later).json()["risk_score"] > real
    assert ask("GET", "/v1/model").json()["test_identities"] is True


def test_without_an_id_in_the_contract_the_first_entity_counts(
    new_home, shop_contract, shop_row, tmp_path: Path
) -> None:
    columns = {k: v for k, v in shop_contract["columns"].items() if k != "id"}
    expectations = {k: v for k, v in shop_contract["expectations"].items() if k != "ORDER_ID"}
    contract = shop_contract | {"columns": columns, "expectations": expectations}
    columns["drop"] = ["ORDER_ID"]
    new_home(tmp_path, contract=contract)
    ask = _asker(tmp_path, test_identities=True)

    row = shop_row(ORDER_ID=..., CUSTOMER="test:review")

    assert ask("POST", "/v1/score", json=row).json()["decision"] == "review"

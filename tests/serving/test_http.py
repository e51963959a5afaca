"""The routes and refusals of the application itself, without a server around it."""

import asyncio
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.http import ScoringApp
from serving.scorer import Scorer
from serving.served_model import ServedModel
from serving.served_models import ModelSource, ServedModels

ERROR_KEYS = {"code", "message", "field", "retry"}
ANSWER_KEYS = {
    "decision_id", "id", "risk_score", "decision", "reasons", "flags", "at_this_score", "model",
    "degraded",
}  # fmt: skip

Ask = Callable[..., httpx.Response]


@pytest.fixture
def ask(scorer: Scorer) -> Ask:
    """Sends one request to an application that serves the shop."""
    app = ScoringApp()
    app.serve(ServedModels([ServedModel(scorer)]))
    return _asker(app)


def _asker(app: ScoringApp) -> Ask:
    async def send(method: str, path: str, **request: Any) -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
            return await client.request(method, path, **request)

    return lambda *args, **request: asyncio.run(send(*args, **request))


def test_an_answer_has_the_documented_shape(ask: Ask, shop_row) -> None:
    answer = ask("POST", "/v1/score", json=shop_row(AMOUNT=300.0)).json()

    assert set(answer) == ANSWER_KEYS
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}",
                        answer["decision_id"])  # fmt: skip
    assert (answer["id"], answer["decision"], answer["degraded"]) == ("17", "review", False)
    assert answer["reasons"][0] == {
        "column": "AMOUNT",
        "text": "Amount unusual for this customer",
        "effect": pytest.approx(0.531336, abs=1e-6),
    }
    assert set(answer["at_this_score"]) == {"false_positive_rate", "alerts_per_day"}
    assert answer["model"] == {"name": "shop", "version": "1", "policy_version": "1"}


def test_decision_ids_are_unique_and_sort_by_time(ask: Ask, shop_row) -> None:
    first = ask("POST", "/v1/score", json=shop_row()).json()["decision_id"]
    rows = {"rows": [shop_row()] * 50}
    batch = ask("POST", "/v1/score/batch", json=rows).json()["results"]

    assert len({answer["decision_id"] for answer in batch}) == 50
    assert all(first[:13] <= answer["decision_id"][:13] for answer in batch)


def test_a_batch_answers_each_row_in_its_place(ask: Ask, shop_row) -> None:
    rows = [shop_row(ORDER_ID=1), shop_row(AMOUNT="100"), 7, shop_row(ORDER_ID=4)]

    results = ask("POST", "/v1/score/batch", json={"rows": rows}).json()["results"]

    assert [result.get("id") for result in results] == ["1", None, None, "4"]
    assert [result.get("error", {}).get("code") for result in results] == [
        None, "wrong_type", "wrong_type", None,
    ]  # fmt: skip
    assert results[1]["error"]["field"] == "AMOUNT"
    assert set(results[1]["error"]) == ERROR_KEYS


def test_a_repeated_field_spoils_its_own_row_only(ask: Ask, shop_row) -> None:
    sound = json.dumps(shop_row())
    twice = sound[:-1] + ', "AMOUNT": 2}'

    results = ask("POST", "/v1/score/batch", content=f'{{"rows": [{twice}, {sound}]}}').json()[
        "results"
    ]

    assert results[0]["error"]["code"] == "duplicate_field"
    assert results[1]["decision"] == "approve"


def test_an_empty_batch_has_no_results(ask: Ask) -> None:
    assert ask("POST", "/v1/score/batch", json={"rows": []}).json() == {"results": []}


def test_a_single_row_and_a_batch_give_the_same_scores(ask: Ask, shop_row) -> None:
    rows = [shop_row(AMOUNT=float(amount), ORDER_ID=amount) for amount in range(0, 900, 30)]

    alone = [ask("POST", "/v1/score", json=row).json() for row in rows]
    together = ask("POST", "/v1/score/batch", json={"rows": rows}).json()["results"]

    for one, other in zip(alone, together, strict=True):
        assert one | {"decision_id": ""} == other | {"decision_id": ""}


@pytest.mark.parametrize(
    ("method", "path", "request_", "status", "code"),
    [
        ("GET", "/v1/scores", {}, 404, "unknown_path"),
        ("POST", "/v1/score/", {}, 404, "unknown_path"),
        ("GET", "/v1/models/shop/scores", {}, 404, "unknown_path"),
        ("GET", "/v1/models//score", {}, 404, "unknown_path"),
        ("GET", "/v1/models/other", {}, 404, "unknown_model"),
        ("POST", "/v1/models/other/score", {"json": {}}, 404, "unknown_model"),
        ("GET", "/v1/score", {}, 405, "method_not_allowed"),
        ("PUT", "/v1/score/batch", {}, 405, "method_not_allowed"),
        ("DELETE", "/v1/models/shop/score", {}, 405, "method_not_allowed"),
        ("POST", "/v1/model", {}, 405, "method_not_allowed"),
        ("POST", "/metrics", {}, 405, "method_not_allowed"),
        ("GET", "/v1/labels", {}, 405, "method_not_allowed"),
        ("POST", "/v1/models/shop/labels", {"json": {"labels": [1]}}, 422, "wrong_type"),
        ("POST", "/v1/score", {"content": b"{"}, 400, "malformed_json"),
        ("POST", "/v1/score", {"content": b'{"AMOUNT": NaN}'}, 400, "malformed_json"),
        ("POST", "/v1/score", {"content": b'{"A": 1, "A": 1}'}, 400, "duplicate_field"),
        ("POST", "/v1/score", {"json": {}}, 422, "missing_field"),
        ("POST", "/v1/score", {"json": []}, 422, "wrong_type"),
        ("POST", "/v1/score/batch", {"json": {"rows": 1}}, 422, "wrong_type"),
        ("POST", "/v1/score/batch", {"json": {"rows": [1] * 1001}}, 413, "too_many_rows"),
        ("POST", "/v1/score", {"content": b" " * (1 << 20) + b"{}"}, 413, "body_too_large"),
        ("POST", "/v1/score", {"data": {"AMOUNT": "1"}}, 415, "unsupported_media_type"),
        (
            "POST", "/v1/score",
            {"content": b"{}", "headers": {"Content-Encoding": "gzip"}},
            415, "unsupported_media_type",
        ),
    ],
)  # fmt: skip
def test_every_refusal_has_one_shape(
    ask: Ask, method: str, path: str, *, request_: dict[str, Any], status: int, code: str
) -> None:
    response = ask(method, path, **request_)

    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    error = response.json()["error"]
    assert set(response.json()) == {"error"}
    assert set(error) == ERROR_KEYS
    assert (error["code"], error["retry"]) == (code, False)
    assert error["message"].endswith(".")
    assert ("allow" in response.headers) == (status == 405)


def test_media_types_with_parameters_and_none_at_all_are_json(ask: Ask, shop_row) -> None:
    body = json.dumps(shop_row()).encode()
    for headers in ({}, {"Content-Type": "Application/JSON; charset=utf-8"}):
        assert ask("POST", "/v1/score", content=body, headers=headers).status_code == 200


def test_a_body_without_a_length_is_stopped_while_it_arrives(ask: Ask) -> None:
    taken = 0

    async def endless() -> Any:
        nonlocal taken
        for _ in range(100):
            taken += 1 << 20
            yield b" " * (1 << 20)

    response = ask("POST", "/v1/score", content=endless())

    assert (response.status_code, response.headers["connection"]) == (413, "close")
    assert taken < 20 << 20, "it must not be read to its end"


def test_a_slow_body_is_given_up(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.request_body.BODY_SECONDS", 0.05)

    async def slow() -> Any:
        yield b"{"
        await asyncio.sleep(5)

    error = ask("POST", "/v1/score", content=slow())

    assert error.status_code == 408
    assert error.json()["error"]["code"] == "body_too_slow"
    assert error.json()["error"]["retry"] is True


def test_a_failure_of_ours_says_so_and_nothing_more(
    ask: Ask, shop_row, scorer: Scorer, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(Scorer, "score_typed", fail)

    single = ask("POST", "/v1/score", json=shop_row())
    batch = ask("POST", "/v1/score/batch", json={"rows": [shop_row()] * 2})

    assert (single.status_code, single.json()["error"]["code"]) == (500, "internal_error")
    assert [result["error"]["retry"] for result in batch.json()["results"]] == [True, True]
    assert "secret" not in single.text + batch.text
    assert "secret detail" in caplog.text


def test_what_is_served_is_described(ask: Ask, scorer: Scorer) -> None:
    described = ask("GET", "/v1/model").json()

    assert described["model_sha256"] == scorer.bundle.model_sha256
    assert (described["state"], described["default"]) == ("serving", True)
    assert ask("GET", "/v1/models/shop").json() == described
    assert ask("GET", "/v1/models").json() == {"models": [described]}
    assert ask("HEAD", "/v1/model").text == ""


def test_several_models_answer_under_their_names(
    new_home, shop_contract, shop_row, tmp_path: Path
) -> None:
    new_home(tmp_path)
    new_home(tmp_path, contract=shop_contract | {"name": "outlet"}, intercept=0.0)
    app = ScoringApp()
    ask = _asker(app)

    app.serve(ModelSource(tmp_path).load_all())
    nameless = ask("POST", "/v1/score", json=shop_row())
    named = {name: ask("POST", f"/v1/models/{name}/score", json=shop_row()).json()
             for name in ("shop", "outlet")}  # fmt: skip

    assert (nameless.status_code, nameless.json()["error"]["code"]) == (404, "unknown_model")
    assert named["outlet"]["risk_score"] > named["shop"]["risk_score"]

    app.serve(ModelSource(tmp_path, ["outlet", "shop"]).load_all())
    assert ask("POST", "/v1/score", json=shop_row()).json()["model"]["name"] == "outlet"


def test_an_application_without_models_answers_in_the_same_shape(shop_row) -> None:
    response = _asker(ScoringApp())("POST", "/v1/score", json=shop_row())

    assert response.status_code == 404
    assert set(response.json()["error"]) == ERROR_KEYS

"""The Python client against a server that says what a test wants it to say."""

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
import numpy as np
import pytest

from infra.errors import InputError
from serving import answers, client_results
from serving.client import AsyncScoringClient, Patience, ScoringClient
from serving.client_patience import Retries
from serving.client_results import (
    AccessDenied,
    Answer,
    IdReused,
    LabelReport,
    RequestInvalid,
    RowError,
    ScoringFailed,
    ServiceFailed,
    ServiceUnreachable,
    TooManyRequests,
)

ANSWER: dict[str, Any] = {
    "decision_id": "01a1fc73-ba5e-7d5d-a103-2efea24e1983", "id": "17", "risk_score": 0.4,
    "decision": "review", "reasons": [{"column": "A", "text": "unusual", "effect": 0.1}],
    "flags": [], "at_this_score": {"false_positive_rate": 0.1, "alerts_per_day": None},
    "model": {"name": "shop", "version": "1", "policy_version": "2"}, "degraded": False,
    "of_a_newer_service": 1,
}  # fmt: skip
QUICK = Patience(timeout_seconds=5, total_seconds=10)


def error(code: str, *, retry: bool) -> dict[str, Any]:
    return {"error": {"code": code, "message": "No.", "field": None, "retry": retry}}


def email_date(seconds: float) -> str:
    return format_datetime(datetime.fromtimestamp(time.time() + seconds, UTC), usegmt=True)


class Script:
    """Answers in order, and what was asked; ``None`` breaks the connection, a float waits."""

    def __init__(self) -> None:
        self.answers: list[Any] = []
        self.asked: list[tuple[str, dict[str, str], bytes]] = []

    def says(self, *answers: Any) -> None:
        self.answers = list(answers)


@pytest.fixture
def script() -> Iterator[Script]:
    said = Script()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            said.asked.append((self.path, headers, body))
            answer = said.answers.pop(0)
            if answer is None:
                self.close_connection = True
                return
            if isinstance(answer, float):
                time.sleep(answer)
                self.close_connection = True
                return
            status, content, *headers = answer
            content = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST  # noqa: N815 - the name that http.server looks for

        def log_message(self, *_: Any) -> None:
            """Keep the test's output to itself."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    said.url = f"http://127.0.0.1:{server.server_port}"  # type: ignore[attr-defined]
    yield said
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def client(script) -> Iterator[ScoringClient]:
    with ScoringClient(script.url, patience=QUICK) as client:
        yield client


def test_an_answer_is_typed_and_newer_fields_are_read_over(script, client) -> None:
    script.says((200, ANSWER))

    answer = client.score({"ORDER_ID": 17})

    assert (answer.decision, answer.risk_score, answer.model.policy_version) == ("review", 0.4, "2")
    assert answer.reasons[0].text == "unusual"
    assert script.asked[0][0] == "/v1/score"
    assert json.loads(script.asked[0][2]) == {"ORDER_ID": 17}


def test_its_shapes_are_the_service_s_own() -> None:
    for name in ("Answer", "AtThisScore", "ModelName"):
        ours, theirs = getattr(client_results, name), getattr(answers, name)

        assert ours.__struct_fields__ == theirs.__struct_fields__


def test_values_of_python_and_numpy_become_json(script, client) -> None:
    script.says((200, ANSWER))

    client.score(
        {
            "AMOUNT": Decimal("12.50"),
            "WHEN": datetime(2026, 3, 1, 12, tzinfo=UTC),
            "COUNT": np.int64(3),
            "RATIO": np.float32(0.5),
            "MISSING": float("nan"),
        }
    )

    assert json.loads(script.asked[0][2]) == {
        "AMOUNT": 12.5, "WHEN": "2026-03-01T12:00:00Z", "COUNT": 3, "RATIO": 0.5, "MISSING": None,
    }  # fmt: skip


def test_what_json_has_not_is_refused_before_it_is_sent(script, client) -> None:
    with pytest.raises(RequestInvalid, match="object is no type of JSON"):
        client.score({"A": object()})

    assert script.asked == []


def test_a_broken_connection_is_tried_again_with_the_same_key(script, client) -> None:
    script.says(None, (503, error("log_unavailable", retry=True)), (200, ANSWER))

    assert client.score({"A": 1}).id == "17"

    keys = {headers["idempotency-key"] for _, headers, _ in script.asked}
    assert len(script.asked) == 3
    assert len(keys) == 1


def test_two_calls_have_two_keys_and_a_given_one_is_kept(script, client) -> None:
    script.says((200, ANSWER), (200, ANSWER), (200, ANSWER))

    client.score({"A": 1})
    client.score({"A": 1})
    client.score({"A": 1}, idempotency_key="order-17")

    keys = [headers["idempotency-key"] for _, headers, _ in script.asked]
    assert keys[2] == "order-17"
    assert len(set(keys)) == 3


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, RequestInvalid), (401, AccessDenied), (403, AccessDenied), (404, RequestInvalid),
        (409, IdReused), (413, RequestInvalid), (422, RequestInvalid), (429, TooManyRequests),
        (500, ServiceFailed), (503, ServiceFailed), (408, ServiceFailed),
    ],
)  # fmt: skip
def test_an_error_that_no_retry_mends_is_raised_at_once(script, client, status, kind) -> None:
    said = {"code": "a_code", "message": "One line.", "field": "AMOUNT", "retry": False}
    script.says((status, {"error": said}))

    with pytest.raises(kind, match="One line.") as raised:
        client.score({"A": 1})

    assert (raised.value.code, raised.value.field, raised.value.retry) == (
        "a_code", "AMOUNT", False,
    )  # fmt: skip
    assert raised.value.status == status
    assert len(script.asked) == 1


def test_the_last_refusal_is_raised_when_the_attempts_are_used_up(script) -> None:
    script.says(*[(503, error("state_unavailable", retry=True))] * 2)

    with (
        ScoringClient(script.url, patience=Patience(attempts=2)) as client,
        pytest.raises(ServiceFailed) as raised,
    ):
        client.score({"A": 1})

    assert raised.value.retry
    assert len(script.asked) == 2


@pytest.mark.parametrize("told", ["7", "a date"])
def test_it_waits_as_long_as_it_is_told_and_no_two_clients_equally(script, told) -> None:
    told = email_date(7) if told == "a date" else told
    script.says((429, error("rate_limited", retry=True), ("Retry-After", told)))
    with (
        ScoringClient(script.url, patience=Patience(total_seconds=5)) as client,
        pytest.raises(TooManyRequests) as raised,
    ):
        client.score({"A": 1})

    waits = {Retries(Patience()).wait_after(raised.value) for _ in range(5)}

    assert len(waits) == 5
    assert all(raised.value.retry_after <= wait <= 7.2 for wait in waits)


def test_a_wait_beyond_its_patience_is_not_begun(script, client) -> None:
    script.says((429, error("rate_limited", retry=True), ("Retry-After", "3600")))

    with pytest.raises(TooManyRequests) as raised:
        client.score({"A": 1})

    assert raised.value.retry_after == 3600


def test_a_retry_after_that_is_none_is_read_over(script, client) -> None:
    refused = error("overloaded", retry=True)
    script.says((429, refused, ("Retry-After", "soon")), (429, refused, ("Retry-After", "nan")),
                (200, ANSWER))  # fmt: skip

    assert client.score({"A": 1}).id == "17"


def test_no_answer_in_time_is_tried_again_and_then_raised(script) -> None:
    script.says(0.5, 0.5)
    patience = Patience(timeout_seconds=0.1, attempts=2)

    with (
        ScoringClient(script.url, patience=patience) as client,
        pytest.raises(ServiceUnreachable, match="did not answer in time") as raised,
    ):
        client.score({"A": 1})

    assert raised.value.code == "timed_out"
    assert len(script.asked) == 2


def test_nobody_at_the_address_is_one_line_with_a_way_out() -> None:
    with (
        ScoringClient("http://127.0.0.1:9", patience=Patience(attempts=1)) as client,
        pytest.raises(ServiceUnreachable, match="Check the address, and that it runs"),
    ):
        client.model()


def test_a_page_of_a_proxy_is_tried_again_only_where_that_may_help(script, client) -> None:
    script.says((502, b"<html>"), (504, b"<html>"), (200, ANSWER))
    assert client.score({"A": 1}).id == "17"

    for answer in [(200, b"<html>"), (404, b"<html>"), (500, {"error": "no"}), (200, {"id": 1})]:
        script.says(answer)
        with pytest.raises(ScoringFailed, match="no whitecrow service") as raised:
            client.score({"A": 1})
        assert raised.value.code == "unreadable_answer"


def test_errors_of_rows_stand_in_their_places(script, client) -> None:
    script.says((200, {"results": [ANSWER, error("missing_field", retry=False)]}))

    first, second = client.score_batch([{"A": 1}, {}])

    assert isinstance(first, Answer)
    assert isinstance(second, RowError)
    assert second.code == "missing_field"
    assert len(script.asked) == 1


def test_a_batch_with_rows_to_send_again_is_sent_again_as_a_whole(script, client) -> None:
    late = error("deadline_exceeded", retry=True)
    script.says((200, {"results": [ANSWER, late]}), (200, {"results": [ANSWER, ANSWER]}))

    results = client.score_batch([{"A": 1}, {"A": 2}])

    assert [type(result) for result in results] == [Answer, Answer]
    assert script.asked[0][1]["idempotency-key"] == script.asked[1][1]["idempotency-key"]
    assert script.asked[0][2] == script.asked[1][2]


def test_rows_that_are_never_answered_keep_their_errors(script) -> None:
    late = error("deadline_exceeded", retry=True)
    script.says(*[(200, {"results": [ANSWER, late]})] * 2)

    with ScoringClient(script.url, patience=Patience(attempts=2)) as client:
        results = client.score_batch([{"A": 1}, {"A": 2}])

    assert [type(result) for result in results] == [Answer, RowError]


def test_labels_are_reported_as_the_route_wants_them(script, client) -> None:
    script.says((200, {"accepted": 2, "duplicates": 0, "unknown": 1}))

    counts = client.report_labels(
        [LabelReport("17", 1, source="chargeback"), {"id": 18, "label": 0}]
    )

    assert (counts.accepted, counts.unknown) == (2, 1)
    assert json.loads(script.asked[0][2]) == {
        "labels": [{"id": "17", "label": 1, "source": "chargeback"}, {"id": 18, "label": 0}]
    }


def test_names_of_models_are_quoted(script, client) -> None:
    script.says((200, ANSWER))

    client.score({"A": 1}, model="a/../b")

    assert script.asked[0][0] == "/v1/models/a%2F..%2Fb/score"


def test_the_key_comes_from_the_argument_or_the_environment(script, monkeypatch) -> None:
    monkeypatch.setenv("WHITECROW_API_KEY", "from-environment")
    script.says((200, ANSWER), (200, ANSWER))

    for given in (None, "given"):
        with ScoringClient(script.url, api_key=given) as client:
            client.score({"A": 1})

    sent = [headers["authorization"] for _, headers, _ in script.asked]
    assert sent == ["Bearer from-environment", "Bearer given"]


def test_the_async_twin_does_the_same(script) -> None:
    script.says(
        None,
        (200, ANSWER),
        (200, {"results": [error("wrong_type", retry=False)]}),
        (200, {"accepted": 0, "duplicates": 1, "unknown": 0}),
        (200, {"name": "shop", "version": "1", "policy_version": "1", "default": True}),
        (404, error("unknown_decision", retry=False)),
    )

    async def ask() -> None:
        async with AsyncScoringClient(script.url, patience=QUICK) as client:
            assert (await client.score({"A": 1})).id == "17"
            (refused,) = await client.score_batch([{"A": "x"}])
            assert isinstance(refused, RowError)
            assert (await client.report_labels([LabelReport(17, 1)])).duplicates == 1
            assert (await client.model()).version == "1"
            with pytest.raises(RequestInvalid):
                await client.decision("of nobody")

    asyncio.run(ask())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: ScoringClient("shop:3000"),
            "must begin with http:// or https://. Got 'shop:3000'",
        ),
        (lambda: Patience(attempts=0), "attempts must be at least 1. Got 0"),
        (lambda: Patience(timeout_seconds=0), "timeout_seconds must be positive. Got 0"),
        (lambda: Patience(batch_timeout_seconds=-1), "batch_timeout_seconds must be positive"),
        (lambda: Patience(total_seconds=float("nan")), "total_seconds must be positive. Got nan"),
    ],
)
def test_bad_settings_are_refused_with_the_value(make, message) -> None:
    with pytest.raises(InputError, match=message):
        make()


def test_it_needs_none_of_the_service_s_packages() -> None:
    heavy = {"polars", "numpy", "onnxruntime", "bentoml", "pydantic", "torch"}
    program = f"import sys, serving.client; print(sorted({heavy!r} & set(sys.modules)))"

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "[]"


def test_an_error_s_shape_is_the_service_s() -> None:
    from serving.refusals import RequestRefused

    shape = RequestRefused("a", "b", field="c", retry=True).to_json()

    assert msgspec.convert(shape["error"], RowError) == RowError("a", "b", "c", retry=True)

"""The Python client against the real service: keys, refusals, silence, and a kill in between."""

import asyncio
import contextlib
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from flows.alerts import list_alerts
from infra.settings import Settings
from serving.access.keys import KeyStore, Scope
from serving.access.rates import Rate
from serving.client import AsyncScoringClient, Patience, ScoringClient
from serving.client_results import (
    AccessDenied,
    Answer,
    IdReused,
    LabelReport,
    RequestInvalid,
    RowError,
    ServiceFailed,
    ServiceUnreachable,
    TooManyRequests,
)
from serving.launch import free_port, running_service, wait_until_ready

NOW = datetime.now(UTC).isoformat(timespec="seconds")


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory, new_home: Any, corner_contract: dict[str, Any]
) -> Iterator[tuple[str, dict[str, str], Path]]:
    """A service with keys and test identities: its address, keys by use, state folder."""
    home = tmp_path_factory.mktemp("asked")
    new_home(home, contract=corner_contract)
    store = KeyStore(home / "whitecrow.db")
    keys = {
        use: store.create(scopes, name=use, rate=rate, actor="tests", reason="tests")[1]
        for use, scopes, rate in [
            ("all", list(Scope), None),
            ("score", [Scope.SCORE], None),
            ("seldom", [Scope.SCORE], Rate.parse("1/h")),
        ]
    }
    port = free_port()
    with (
        pytest.MonkeyPatch.context() as patch,
        (home / "service.log").open("w") as log,
    ):
        patch.setenv("WHITECROW_TEST_IDENTITIES", "on")
        with running_service(["corner"], port=port, home=home, log=log.fileno()):
            url = f"http://127.0.0.1:{port}"
            wait_until_ready(url)
            yield url, keys, home


@pytest.fixture
def client(service: tuple[str, dict[str, str], Path]) -> Iterator[ScoringClient]:
    url, keys, _ = service
    with ScoringClient(url, api_key=keys["all"]) as client:
        yield client


def test_every_method_asks_the_route_it_is_named_after(client, shop_row) -> None:
    row = shop_row(ORDER_ID=1001, AMOUNT=300.0)

    answer = client.score(row)
    again, refused = client.score_batch([row, {}], model="corner")
    counts = client.report_labels([LabelReport(1001, 1, NOW, "chargeback")])
    decision = client.decision(answer.decision_id)

    assert isinstance(again, Answer)
    assert isinstance(refused, RowError)
    assert again == answer
    assert (answer.id, answer.decision) == ("1001", "review")
    assert refused.code == "missing_field"
    assert (counts.accepted, counts.unknown) == (1, 0)
    assert client.model().version == client.model("corner").version == "1"
    assert (decision.risk_score, decision.model) == (answer.risk_score, answer.model)
    assert decision.details["row"]["AMOUNT"] == 300.0


def test_the_async_twin_is_answered_the_same(service, client, shop_row) -> None:
    url, keys, _ = service
    row = shop_row(ORDER_ID=1002)

    async def ask() -> Answer:
        async with AsyncScoringClient(url, api_key=keys["all"]) as twin:
            return await twin.score(row)

    assert asyncio.run(ask()) == client.score(row)


def test_a_reported_label_closes_its_alert(service, client, shop_row) -> None:
    settings = Settings(home=service[2])
    answer = client.score(shop_row(ORDER_ID=1006, AMOUNT=900.0))
    before = [alert.decision_id for alert in list_alerts(settings)]

    client.report_labels([LabelReport(1006, 1, NOW, "chargeback")])

    assert answer.decision_id in before
    assert answer.decision_id not in [alert.decision_id for alert in list_alerts(settings)]


def test_the_example_in_the_readme_runs(service, capsys) -> None:
    url, keys, _ = service
    readme = Path(__file__).resolve().parents[2] / "serving" / "README.md"
    section = readme.read_text("utf-8").split("\n## For integrators\n")[1]
    code = section.split("```python\n")[1].split("```")[0]
    for written, here in [
        ('"http://127.0.0.1:3000"', repr(url)), ("api_key=None", f"api_key={keys['all']!r}"),
        ('"shop"', '"corner"'),
    ]:  # fmt: skip
        assert written in code
        code = code.replace(written, here)

    exec(compile(code, str(readme), "exec"), {})

    assert capsys.readouterr().out.startswith("1 {'AMOUNT': 249.8")


def test_what_is_wrong_with_a_request_is_typed(client, shop_row) -> None:
    client.score(shop_row(ORDER_ID=1003))

    with pytest.raises(RequestInvalid) as missing:
        client.score(shop_row(AMOUNT=...))
    with pytest.raises(IdReused) as reused:
        client.score(shop_row(ORDER_ID=1003, AMOUNT=1.0))
    with pytest.raises(RequestInvalid) as nobody:
        client.score(shop_row(), model="nobody")

    assert (missing.value.code, missing.value.field) == ("missing_field", "AMOUNT")
    assert reused.value.code == "id_reused"
    assert nobody.value.code == "unknown_model"


def test_who_may_not_ask_is_told_so(service, shop_row) -> None:
    url, keys, _ = service
    for key, code in [("", "missing_key"), ("wc_nobody_x", "unknown_key")]:
        with ScoringClient(url, api_key=key) as client, pytest.raises(AccessDenied) as denied:
            client.score(shop_row())
        assert denied.value.code == code

    with ScoringClient(url, api_key=keys["score"]) as client, pytest.raises(AccessDenied) as denied:
        client.report_labels([LabelReport(17, 1)])
    assert denied.value.code == "missing_scope"


def test_a_rate_that_no_patience_outlasts_is_raised(service, shop_row) -> None:
    url, keys, _ = service

    with ScoringClient(url, api_key=keys["seldom"]) as client:
        client.score(shop_row(ORDER_ID=1004))
        with pytest.raises(TooManyRequests) as refused:
            client.score(shop_row(ORDER_ID=1005))

    assert (refused.value.code, refused.value.retry) == ("rate_limited", True)
    assert refused.value.retry_after is not None
    assert refused.value.retry_after > 30


def test_a_service_that_stays_unavailable_is_given_up(service, shop_row) -> None:
    url, keys, _ = service
    patience = Patience(attempts=2)

    with (
        ScoringClient(url, api_key=keys["all"], patience=patience) as client,
        pytest.raises(ServiceFailed) as failed,
    ):
        client.score(shop_row(ORDER_ID="test:error:503"))

    assert (failed.value.status, failed.value.retry) == (503, True)


def test_a_slow_answer_is_not_waited_for(service, shop_row) -> None:
    url, keys, _ = service
    patience = Patience(timeout_seconds=0.1, attempts=2)

    with (
        ScoringClient(url, api_key=keys["all"], patience=patience) as client,
        pytest.raises(ServiceUnreachable) as silent,
    ):
        client.score(shop_row(ORDER_ID="test:slow"))

    assert silent.value.code == "timed_out"


def kill(service: subprocess.Popen[bytes]) -> None:
    """End a service as a power cut would, with every process of it."""
    # The parent first: it would replace a worker that dies.
    for process in [service, *psutil.Process(service.pid).children(recursive=True)]:
        process.kill()
        process.wait()


def test_a_service_that_is_killed_and_comes_back_repeats_its_first_answer(
    tmp_path: Path, new_home, shop_contract, shop_row
) -> None:
    columns = {name: value for name, value in shop_contract["columns"].items() if name != "id"}
    rules = {key: rule for key, rule in shop_contract["expectations"].items() if key != "ORDER_ID"}
    new_home(tmp_path, contract=shop_contract | {"columns": columns, "expectations": rules})
    row, port = shop_row(ORDER_ID=...), free_port()
    url = f"http://127.0.0.1:{port}"
    patience = Patience(timeout_seconds=5, attempts=500, total_seconds=120)
    answers: list[Answer] = []

    with ScoringClient(url, patience=patience) as client, contextlib.ExitStack() as services:
        log = services.enter_context((tmp_path / "service.log").open("w"))

        def start() -> Any:
            return services.enter_context(
                running_service(["shop"], port=port, home=tmp_path, log=log.fileno())
            )

        first = start()
        wait_until_ready(url)
        before = client.score(row, idempotency_key="basket-9")
        kill(first)
        asking = threading.Thread(
            target=lambda: answers.append(client.score(row, idempotency_key="basket-9"))
        )
        asking.start()
        start()
        asking.join()
        other = client.score(row)

    assert answers == [before]
    assert other.decision_id != before.decision_id

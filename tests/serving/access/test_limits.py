"""The application under a store that hangs: answers in time, refusals instead of queues."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.access.admission import Limits
from serving.access.gate import Gate
from serving.http import ScoringApp
from serving.online_path import OnlinePath
from serving.served_models import ModelSource


@pytest.fixture
def hanging(
    new_home, corner_contract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ScoringApp]:
    """An application whose model hangs on its threads until the test has ended."""
    new_home(tmp_path, contract=corner_contract)
    app = ScoringApp()
    gate = Gate(tmp_path / "whitecrow.db", address="127.0.0.1")
    app.guard(gate, Limits(deadline_seconds=0.05, batch_deadline_seconds=0.05, max_under_way=3))
    app.serve(ModelSource(tmp_path).load_all())
    go_on = threading.Event()
    decide = OnlinePath.decide

    def hang(*args: Any) -> Any:
        go_on.wait()
        return decide(*args)

    monkeypatch.setattr(OnlinePath, "decide", hang)
    yield app
    go_on.set()
    app.close()


def asked(app: ScoringApp, ask: Callable[[httpx.AsyncClient], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://corner") as client:
            return await ask(client)

    return asyncio.run(main())


def test_a_row_that_hangs_is_503_in_time(hanging: ScoringApp, shop_row) -> None:
    response = asked(hanging, lambda client: client.post("/v1/score", json=shop_row()))

    error = response.json()["error"]
    assert (response.status_code, error["code"], error["retry"]) == (503, "deadline_exceeded", True)
    assert response.headers["retry-after"] == "1"


def test_each_row_of_a_batch_that_hangs_says_so(hanging: ScoringApp, shop_row) -> None:
    rows = {"rows": [shop_row(), shop_row(ORDER_ID=2)]}
    response = asked(hanging, lambda client: client.post("/v1/score/batch", json=rows))

    codes = [result["error"]["code"] for result in response.json()["results"]]
    assert (response.status_code, codes) == (200, ["deadline_exceeded"] * 2)


def test_what_hangs_makes_no_room_for_more(hanging: ScoringApp, shop_row) -> None:
    async def ask(client: httpx.AsyncClient) -> list[httpx.Response]:
        first = await asyncio.gather(
            *(client.post("/v1/score", json=shop_row(ORDER_ID=at)) for at in range(3))
        )
        rows = {"rows": [shop_row()]}
        return [
            *first,
            await client.post("/v1/score", json=shop_row(ORDER_ID=4)),
            await client.post("/v1/score/batch", json=rows),
            await client.get("/v1/model"),
        ]

    responses = asked(hanging, ask)

    assert [response.status_code for response in responses] == [503, 503, 503, 429, 429, 200]
    assert responses[3].json()["error"]["code"] == "overloaded"
    assert responses[3].headers["retry-after"] == "1"

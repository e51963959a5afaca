"""A log that is full, locked, gone or no log at all: nobody is acknowledged silently."""

import asyncio
import math
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from serving.answers import encode, encode_answer
from serving.decisions.chain import verify_groups
from serving.decisions.opening import LogLocationError
from serving.decisions.store import LogMismatch
from serving.launch import running_service
from serving.request_context import RequestContext


def one(model: Any, row: dict[str, Any], seconds: float = 1.0) -> Any:
    context = RequestContext(deadline=time.monotonic() + seconds)
    return model.answer_rows([row], context)[0]


def soon(model: Any, row: dict[str, Any], seconds: float = 1.0) -> Any:
    context = RequestContext(deadline=time.monotonic() + seconds)
    return asyncio.run(model.answer_body(encode(row), context))


def once_back(model: Any, row: dict[str, Any]) -> Any:
    """Send a row until it is written down."""
    for _ in range(200):
        outcome = one(model, row)
        if getattr(outcome, "degraded", True) is False:
            return outcome
        time.sleep(0.05)
    pytest.fail(f"the log did not come back: {outcome}")


def wait_until_back(model: Any) -> None:
    """Return when the log is there and has what was kept for it."""
    for _ in range(200):
        if model.log.is_reachable and not model.log.n_kept:
            return
        time.sleep(0.05)
    pytest.fail("the log did not come back")


@contextmanager
def away(place: Any) -> Iterator[None]:
    """Another process holds the file; the server forgets its clients and lets in no more."""
    if place.uri is None:
        holder = sqlite3.connect(place.home / "decisions.db", isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        yield
        holder.execute("ROLLBACK")
        holder.close()
        return
    server, name = place.uri.rsplit("/", 1)
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        _forget_clients(connection, name)
        yield
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


def _forget_clients(connection: Any, name: str) -> None:
    query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
    connection.execute(query, (name,))


@pytest.mark.parametrize("way", [one, soon])
def test_a_log_that_is_away_refuses_and_is_found_again_when_back(
    shop: Any, shop_row, way: Any
) -> None:
    model = shop.serve()
    first = one(model, shop_row(ORDER_ID=1))
    with away(shop):
        refused = [way(model, shop_row(ORDER_ID=number)) for number in (2, 3)]
        repeated = way(model, shop_row(ORDER_ID=1))
        is_reachable = model.log.is_reachable
    back = once_back(model, shop_row(ORDER_ID=4))

    assert [(each.code, each.status, each.retry) for each in refused] == [
        ("log_unavailable", 503, True)
    ] * 2
    assert not is_reachable
    if shop.uri is None:
        assert encode_answer(repeated) == encode(first), "a locked file can still be read"
    assert model.log.is_reachable
    written = [r.transaction_id for g in shop.store().groups() for r in g.decoded()]
    assert written == ["1", "4"]
    assert encode_answer(one(model, shop_row(ORDER_ID=1))) == encode(first)
    assert back.degraded is False


def test_a_log_that_is_away_degrades_where_the_settings_say_so(shop: Any, shop_row) -> None:
    model = shop.serve(log_on_stall="degrade")
    with away(shop):
        blind = [one(model, shop_row(ORDER_ID=number)) for number in (1, 2)]
        again = one(model, shop_row(ORDER_ID=1))
        other = one(model, shop_row(ORDER_ID=1, AMOUNT=7.0))
        n_kept = model.log.n_kept
    wait_until_back(model)
    one(model, shop_row(ORDER_ID=3))

    assert [(each.decision, each.degraded) for each in blind] == [("review", True)] * 2
    assert encode_answer(again) == encode(blind[0])
    assert other.code == "id_reused"
    assert (n_kept, model.log.n_kept) == (2, 0)
    found = model.log.find_decision(blind[0].decision_id)
    assert (found.stored.answer, found.stored.is_degraded) == (encode(blind[0]), True)
    (verified,) = verify_groups(shop.store().groups()).values()
    assert verified == 3


def test_what_is_kept_has_a_bound(sqlite_place: Any, new_home, shop_row, monkeypatch) -> None:
    monkeypatch.setattr("serving.decisions.commit_thread.MOST_KEPT", 1)
    new_home(sqlite_place.home)
    model = sqlite_place.serve(log_on_stall="degrade")
    with away(sqlite_place):
        first, second = (one(model, shop_row(ORDER_ID=number)) for number in (1, 2))

    assert (first.degraded, second.code) == (True, "log_unavailable")


def test_connections_that_are_lost_are_replaced(postgres_place: Any, new_home, shop_row) -> None:
    new_home(postgres_place.home)
    model = postgres_place.serve()
    one(model, shop_row(ORDER_ID=1))
    server, name = postgres_place.uri.rsplit("/", 1)
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        _forget_clients(connection, name)

    answer = once_back(model, shop_row(ORDER_ID=2))

    found = model.log.find_decision(answer.decision_id)
    assert found is not None


def test_a_full_disk_refuses_and_loses_nothing(sqlite_place: Any, new_home, shop_row) -> None:
    new_home(sqlite_place.home)
    model = sqlite_place.serve()
    first = one(model, shop_row(ORDER_ID=1))
    writer = model.log.store._writer
    pages = writer.execute("PRAGMA page_count").fetchone()[0]
    writer.execute(f"PRAGMA max_page_count = {pages}")

    full = [one(model, shop_row(ORDER_ID=number)) for number in range(2, 40)]
    writer.execute("PRAGMA max_page_count = 1000000")
    once_back(model, shop_row(ORDER_ID=100))

    refused = [each for each in full if not hasattr(each, "decision_id")]
    assert {each.code for each in refused} == {"log_unavailable"}
    answered = {each.decision_id for each in full if hasattr(each, "decision_id")}
    written = [r for g in sqlite_place.store().groups() for r in g.decoded()]
    assert answered | {first.decision_id} <= {record.decision_id for record in written}
    assert list(verify_groups(sqlite_place.store().groups()).values()) == [len(written)]


@pytest.mark.parametrize(("make", "message"), [
    (lambda path: path.write_bytes(b"no database at all " * 100), "damaged or no database"),
    (lambda path: _make_foreign(path, "theirs"), "no decision log"),
])  # fmt: skip
def test_a_file_that_is_no_log_is_refused_at_the_start(
    sqlite_place: Any, new_home, make: Any, message: str
) -> None:
    new_home(sqlite_place.home)
    make(sqlite_place.home / "decisions.db")

    with pytest.raises(LogMismatch, match=message):
        sqlite_place.recording()
    with (
        pytest.raises(LogMismatch, match=message),
        running_service(["shop"], port=_port(), home=sqlite_place.home),
    ):
        pytest.fail("the service started")


def test_a_log_that_is_damaged_inside_refuses(sqlite_place: Any, new_home, shop_row) -> None:
    new_home(sqlite_place.home)
    one(sqlite_place.serve(), shop_row(ORDER_ID=1))
    sqlite_place.content()  # closes it
    file = sqlite_place.home / "decisions.db"
    content = file.read_bytes()
    # Page 1 has the header and the tables' names, page 2 what SQLite needs to find others.
    file.write_bytes(content[:8192] + b"\xa5" * (len(content) - 8192))

    with pytest.raises(LogMismatch, match="damaged"):
        one(sqlite_place.serve(), shop_row(ORDER_ID=2))


@pytest.mark.parametrize(("uri", "error", "message"), [
    ("mysql://u:secret@host/db", LogLocationError, "Got mysql://"),
])  # fmt: skip
def test_a_uri_that_names_no_database_is_refused(
    sqlite_place: Any, uri: str, error: type[Exception], message: str
) -> None:
    sqlite_place.uri = uri

    with pytest.raises(error, match=message) as caught:
        sqlite_place.store()

    assert "secret" not in str(caught.value)


def test_a_server_that_is_not_there_is_waited_for(sqlite_place: Any, new_home, shop_row) -> None:
    new_home(sqlite_place.home)
    sqlite_place.uri = "postgresql://postgres:secret@127.0.0.1:1/none"
    refusing = sqlite_place.serve()
    degrading = sqlite_place.serve(log_on_stall="degrade")

    refused, degraded = (one(model, shop_row()) for model in (refusing, degrading))

    assert refused.code == "log_unavailable"
    assert (degraded.decision, degraded.degraded) == ("review", True)
    sqlite_place.uri = None


def test_more_than_can_wait_is_refused_at_once(
    sqlite_place: Any, new_home, shop_row, monkeypatch
) -> None:
    monkeypatch.setattr("serving.decisions.commit_thread.MOST_WAITING", 2)
    new_home(sqlite_place.home)
    model = sqlite_place.serve()

    refused = model.answer_rows([shop_row(ORDER_ID=number) for number in range(3)])

    assert {each.code for each in refused} == {"log_unavailable"}


def test_a_row_that_was_applied_late_counts_once(corner: Any, shop_row) -> None:
    model = corner.serve("corner", log_on_stall="degrade")
    with away(corner):
        assert one(model, shop_row(ORDER_ID=1)).degraded
    wait_until_back(model)
    later = one(model, shop_row(ORDER_ID=2, PLACED_AT="2026-03-01T13:00:00Z"))
    again = one(model, shop_row(ORDER_ID=1))

    assert later.risk_score == pytest.approx(1 / (1 + 2.718281828**0.9), abs=1e-4)
    assert again.degraded, "the first answer stays the answer"


def test_nothing_is_let_through_while_the_log_is_away(
    sqlite_place: Any, new_home, corner_contract, shop_row
) -> None:
    contract = corner_contract | {"policy": {"count_declined": False}}
    new_home(sqlite_place.home, contract=contract, exploration={"rate": 0.5})
    model = sqlite_place.serve("corner", log_on_stall="degrade")

    def rows(first: int, hour: int, **changes: Any) -> list[dict[str, Any]]:
        moment = f"2026-03-01T{hour}:00:00Z"
        return [
            shop_row(**{"ORDER_ID": first + at, "CUSTOMER": 100 + at, "PLACED_AT": moment}
                     | changes)
            for at in range(20)
        ]  # fmt: skip

    def send(asked: list[dict[str, Any]]) -> list[Any]:
        return model.answer_rows(asked, RequestContext(deadline=time.monotonic() + 1))

    there = send(rows(0, 11, AMOUNT=900.0, CUSTOMER=99))
    with away(sqlite_place):
        blind = send(rows(100, 12, AMOUNT=900.0))
    wait_until_back(model)
    later = send(rows(200, 13, AMOUNT=10.0))
    again = send(rows(100, 12, AMOUNT=900.0))
    of_blind = {answer.decision_id for answer in blind}
    written = [r for g in sqlite_place.store().groups() for r in g.decoded()]

    assert {answer.decision for answer in there} == {"approve", "decline"}
    assert {(each.decision, each.degraded, each.flags) for each in blind} == {("decline", True, ())}
    assert all(each.reasons for each in blind)
    assert [encode_answer(answer) for answer in again] == [encode(answer) for answer in blind]
    assert [r.counts for r in written if r.decision_id in of_blind] == [False] * 20
    # -2 + 0.1 - 1 + 0.5: a declined row is nobody's past here, and all of these were declined.
    assert [each.risk_score for each in later] == pytest.approx([1 / (1 + math.exp(2.4))] * 20)


def _make_foreign(path: Path, table: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(f"CREATE TABLE {table} (a)")
    connection.commit()
    connection.close()


def _port() -> int:
    from serving.launch import free_port

    return free_port()

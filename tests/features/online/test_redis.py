"""What only a server can do to the state: go away, stall, fill up, forget."""

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest
import redis

from features.online.opening import open_state
from features.online.redis_server import StateServerError
from features.online.state import Applied, StateMismatch, StateUnreachable

WRITER = """
import pickle, sys
from pathlib import Path
contract, uri, events, now = pickle.load(sys.stdin.buffer)
from features.online.opening import open_state
state = open_state(contract, uri, folder=Path("unused"), clock=lambda: now)
print(sum(applied.value == "applied" for event in events for applied in state.apply([event])))
"""


@pytest.fixture
def server(new_redis_server) -> Iterator:
    made = new_redis_server()
    made.start()
    yield made
    made.kill()


@pytest.fixture
def open_at(watched, tmp_path, event) -> Iterator[Callable]:
    """Opens the state of ``watched`` at a URI."""
    opened = []

    def at(uri: str):
        now = event(24 * 1_000).event_time
        opened.append(open_state(watched, uri, folder=tmp_path, clock=lambda: now))
        return opened[-1]

    yield at
    for state in opened:
        state.close()


def _configure(server, **settings: object) -> None:
    with redis.Redis.from_url(server.uri) as client:
        for name, value in settings.items():
            client.config_set(name.replace("_", "-"), str(value))


def test_a_server_that_goes_away_is_told_in_one_line_and_the_state_goes_on_when_it_is_back(
    server, open_at, event, report, features
) -> None:
    state = open_at(server.uri)
    state.apply([event(1, id="a")])

    server.kill()
    for request in (
        lambda: state.past([event(2)]),
        lambda: state.seen([event(2)]),
        lambda: state.apply([event(2, id="b")]),
        lambda: state.report_labels([report("a", 1, 2)]),
        state.describe,
        lambda: state.load([event(2)], [], "1 row"),
        state.progress,
        state.evict,
        lambda: state.hot_entities(1),
    ):
        with pytest.raises(StateUnreachable, match="does not answer") as told:
            request()
        assert "\n" not in str(told.value)
    server.start()

    assert state.apply([event(1, id="a"), event(2, id="b")]) == [
        Applied.DUPLICATE,
        Applied.APPLIED,
    ]
    assert features(state, event(3))["card_count_1d"] == 2


def test_a_server_started_anew_between_two_requests_is_not_noticed(server, open_at, event) -> None:
    state = open_at(server.uri)
    state.apply([event(1, id="a")])

    server.kill()
    server.start()

    assert state.apply([event(1, id="a")]) == [Applied.DUPLICATE]


def test_no_acknowledged_event_is_lost_when_the_server_is_killed_under_load(
    server, open_at, event
) -> None:
    acknowledged, enough = [], threading.Event()

    def write(worker: int) -> None:
        state = open_at(server.uri)
        for n in range(100_000):
            one = event(n / 1_000, id=f"{worker}-{n}")
            try:
                state.apply([one])
            except StateUnreachable:
                return
            acknowledged.append(one)
            if len(acknowledged) > 200:
                enough.set()

    threads = [threading.Thread(target=write, args=(worker,)) for worker in range(3)]
    for thread in threads:
        thread.start()
    assert enough.wait(60)
    server.kill()
    for thread in threads:
        thread.join()
    server.start()

    assert set(open_at(server.uri).seen(acknowledged)) == {Applied.DUPLICATE}


def test_a_server_that_stalls_is_given_up_after_the_timeout(server, open_at, event) -> None:
    state = open_at(f"{server.uri}?socket_timeout=0.2")
    server.process.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(StateUnreachable, match="Timeout"):
            state.past([event(1)])
    finally:
        server.process.send_signal(signal.SIGCONT)

    assert state.apply([event(1)]) == [Applied.APPLIED]


def test_an_answer_that_came_too_late_is_not_taken_for_another_ones(
    server, open_at, event, features
) -> None:
    state = open_at(f"{server.uri}?socket_timeout=0.2")
    state.apply([event(1, card="c"), event(1, card="d"), event(2, card="d")])
    server.process.send_signal(signal.SIGSTOP)
    with pytest.raises(StateUnreachable):
        state.past([event(3, card="c")])
    server.process.send_signal(signal.SIGCONT)

    assert features(state, event(3, card="d"))["card_count_1d"] == 2


def test_scripts_that_the_server_forgot_are_loaded_again(
    open_at, redis_uri, event, report, features
) -> None:
    state = open_at(redis_uri)
    with redis.Redis.from_url(redis_uri) as client:
        client.script_flush()
        assert state.apply([event(1, id="a"), event(2)]) == [Applied.APPLIED] * 2
        client.script_flush()
        assert state.report_labels([report("a", 1, 3)]).accepted == 1
        client.script_flush()
        state.load([event(3)], [report("a", 0, 4)], "1 row")

    assert features(state, event(4))["card_count_1d"] == 3


@pytest.mark.parametrize(
    "settings",
    [{"maxmemory_policy": "noeviction", "maxmemory": 1}, {"min_replicas_to_write": 1}],
    ids=["full", "without replicas"],
)
def test_a_server_that_takes_no_writes_is_unreachable_and_nothing_is_half_stored(
    server, open_at, event, features, settings
) -> None:
    state = open_at(server.uri)
    _configure(server, **settings)

    with pytest.raises(StateUnreachable, match="memory|replicas"):
        state.apply([event(1, id="a")])
    with pytest.raises(StateUnreachable, match="memory|replicas"):
        state.load([event(1, id="b"), event(2, id="c")], [], "2 rows")
    _configure(server, maxmemory=0, min_replicas_to_write=0)

    assert state.progress() is None
    assert state.seen([event(1, id=name) for name in "abc"]) == [None] * 3
    assert features(state, event(3))["card_count_1d"] == 0


def test_a_server_that_drops_keys_when_its_memory_is_short_is_refused(server, open_at) -> None:
    _configure(server, maxmemory_policy="volatile-lru", maxmemory=1 << 30)

    with pytest.raises(StateServerError, match=r"volatile-lru.*noeviction"):
        open_at(server.uri)


def test_a_server_without_an_append_only_file_is_warned_of(new_redis_server, open_at, caplog):
    server = new_redis_server()
    server.start("--appendonly", "no")

    with caplog.at_level(logging.WARNING):
        open_at(server.uri)

    assert "no append-only file" in caplog.text


def test_passwords_are_not_told(new_redis_server, open_at) -> None:
    server = new_redis_server()
    server.start()
    uri = server.uri.replace("redis://", "redis://someone:secret@")

    with pytest.raises(StateUnreachable) as told:
        open_at(uri)

    assert "secret" not in str(told.value)
    assert f"127.0.0.1:{server.port}" in str(told.value)


def test_a_port_where_nobody_listens_is_unreachable(new_redis_server, open_at) -> None:
    with pytest.raises(StateUnreachable, match="refused"):
        open_at(new_redis_server().uri)


@pytest.mark.parametrize("uri", ["redis://host:port/0", "redis://localhost:6379/0?colour=green"])
def test_a_uri_that_is_none_is_refused(open_at, uri) -> None:
    with pytest.raises(StateServerError, match="redis://host:6379/0"):
        open_at(uri)


def test_without_redis_py_the_extra_is_named(open_at, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)

    with pytest.raises(StateServerError, match=r"whitecrow\[redis\]"):
        open_at("redis://localhost")


def test_redis_py_is_imported_only_for_a_state_on_a_server() -> None:
    code = (
        "import sys, features.online.opening, features.online.sqlite, features.online.redis; "
        "print([name for name in sys.modules if name.split('.')[0] in ('redis', 'hiredis')])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert run.stdout.strip() == "[]"


def test_keys_of_another_release_are_a_mismatch(redis_store, redis_uri, watched) -> None:
    redis_store.open(watched)
    with redis.Redis.from_url(redis_uri) as client:
        (about,) = client.keys("whitecrow:*:about")
        client.hset(about, "format", "0")

    with pytest.raises(StateMismatch, match="whitecrow backfill"):
        redis_store.open(watched)


def test_two_models_on_one_server_do_not_meet(redis_store, watched, event, features) -> None:
    state = redis_store.open(watched)
    redis_store.open(watched.model_copy(update={"name": "other"})).apply([event(1, id="a")])

    assert state.seen([event(1, id="a")]) == [None]
    assert features(state, event(2))["card_count_1d"] == 0


def test_what_nobody_writes_to_is_forgotten_after_the_longest_look_back(
    redis_store, redis_uri, watched, event, report
) -> None:
    state = redis_store.open(watched)
    state.apply([event(1, id="a")])
    state.report_labels([report("a", 1, 2), report("not yet there", 1, 2)])

    with redis.Redis.from_url(redis_uri) as client:
        lives = {key: client.ttl(key) for key in client.scan_iter("whitecrow:*")}

    of_events = [left for key, left in lives.items() if b":e:" in key or b":i:" in key]
    assert len(of_events) == 5  # card, pair, shop; two ids
    day = 86_400
    assert all(7.99 * day < left <= 8 * day for left in of_events)  # 7 days and one of lateness


def test_events_of_one_second_are_told_apart_to_the_microsecond(
    redis_store, watched, event, features
) -> None:
    state = redis_store.open(watched)
    second = 1 / 3_600
    state.apply([event(1 + second * part, amount=part) for part in (0.75, 0.25, 0.5)])

    found = features(state, event(1 + second * 0.5))
    assert (found["card_count_1h"], found["card_amount_sum_1h"]) == (1, 0.25)
    assert features(state, event(2 + second * 0.5))["card_amount_min_1h"] == 0.5


def test_events_before_1970_have_their_place_too(redis_store, watched, event, features) -> None:
    state = redis_store.open(watched)
    then = -24 * 365 * 100
    state.apply([event(then + 2 / 3_600), event(then + 1.5 / 3_600), event(then)])

    assert features(state, event(then + 1.75 / 3_600))["card_count_1h"] == 2
    assert features(state, event(then + 1.75 / 3_600))["card_seconds_since_last"] == 0.25


def test_a_label_is_given_to_its_own_event_among_those_of_one_instant(
    redis_store, watched, event, report, features
) -> None:
    state = redis_store.open(watched)
    state.apply([event(0, id=name) for name in "abc"])

    state.report_labels([report("b", 1, 1), report("b", 0, 2), report("a", 1, 1)])

    found = features(state, event(49))
    assert (found["shop_label_rate_5d"], found["shop_label_count_5d"]) == (1 / 3, 3)


def test_a_hot_entity_whose_events_expired_is_hot_no_more(redis_store, watched, event) -> None:
    state = redis_store.open(watched)
    state.apply([event(n / 100, shop=f"s{n}") for n in range(200)])
    assert [hot.key for hot in state.hot_entities(5)] == ["c"]

    state.apply([event(24 * 30, card="d")])
    state.evict()

    assert state.hot_entities(5) == []


def test_writers_in_several_processes_lose_no_event_and_count_none_twice(
    redis_store, redis_uri, watched, event, features
) -> None:
    import pickle

    shared = [event(1 + n / 10_000, id=f"shared {n}") for n in range(300)]
    of_each = [[event(1 + n / 10_000, id=f"{w}: {n}") for n in range(150)] for w in range(3)]

    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for _ in of_each
    ]
    for writer, own in zip(writers, of_each, strict=True):
        assert writer.stdin is not None
        mixed = [one for pair in zip(own, shared[::2], strict=True) for one in pair] + shared
        pickle.dump((watched, redis_uri, mixed, redis_store.now), writer.stdin)
        writer.stdin.close()
    applied = [int(writer.stdout.read()) for writer in writers]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    for writer in writers:
        writer.stdout.close()

    assert sum(applied) == 3 * 150 + 300
    assert features(redis_store.open(watched), event(2))["card_count_1h"] == 750

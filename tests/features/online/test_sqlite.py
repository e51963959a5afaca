"""The SQLite state: what only a file can suffer."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing
from pathlib import Path

import pytest

from features.online import sqlite_upkeep
from features.online.opening import state_file
from features.online.sqlite import SqliteState
from features.online.state import Applied, SkewGuard, StateMismatch, StateUnreachable
from features.velocity import velocity_plan
from infra import checkpointing

REPOSITORY = Path(__file__).resolve().parents[3]

WRITER = """
import sys, json
from pathlib import Path
from features.contract import parse_contract
from features.online.events import Event
from features.online.opening import open_state
from features.online.state import StateUnreachable

contract = parse_contract(json.loads(sys.argv[1]), source="watched")
state = open_state(contract, folder=Path(sys.argv[2]))
for n in range(int(sys.argv[4])):
    name = f"{sys.argv[3]}{n}"
    event = Event(name, int(sys.argv[5]) + n, 100, ("c", "s"), ("s", "chip"))
    while True:
        try:
            state.apply([event])
            break
        except StateUnreachable:  # a busy machine: the client sends it again
            continue
    print(name, flush=True)
"""


@pytest.fixture
def state(sqlite_store, watched) -> SqliteState:
    return sqlite_store.open(watched)


@pytest.fixture
def start_writer(sqlite_store, everything, event):
    """Starts a process that applies events of one card and prints each id once it is stored."""
    contract = json.dumps(everything())
    begun = []

    def start(prefix: str, n: int) -> subprocess.Popen[str]:
        arguments = [contract, str(sqlite_store.folder), prefix, str(n)]
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WRITER), *arguments, str(event(1).event_time)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
        )
        begun.append(process)
        return process

    yield start
    for process in begun:
        process.kill()
        process.wait()
        process.stdout.close()


def test_nothing_acknowledged_is_lost_when_the_process_is_killed(
    sqlite_store, watched, event, features, start_writer
) -> None:
    writer = start_writer("a", 1_000_000)
    acknowledged = [writer.stdout.readline().strip() for _ in range(150)]
    os.kill(writer.pid, signal.SIGKILL)
    acknowledged += writer.communicate()[0].split()

    state = sqlite_store.open(watched)
    seen = state.seen([event(1, id=name) for name in acknowledged])
    found = features(state, event(1.5))

    assert len(acknowledged) >= 150
    assert set(seen) == {Applied.CONFLICT}  # known: these have another content
    # One more may have been stored and not yet been acknowledged.
    assert found["card_count_1h"] - len(acknowledged) in (0, 1)
    assert found["card_amount_sum_1h"] == found["card_count_1h"]


def test_two_processes_that_write_at_the_same_time_lose_no_event(
    sqlite_store, watched, event, features, start_writer
) -> None:
    writers = [start_writer(prefix, 400) for prefix in "ab"]
    assert [len(writer.communicate()[0].split()) for writer in writers] == [400, 400]

    found = features(sqlite_store.open(watched), event(1.5))

    assert found["card_count_1h"] == 800
    assert found["shop_label_count_5d"] == 0


def test_a_file_of_another_feature_set_is_refused_with_one_line(
    sqlite_store, watched, tmp_path
) -> None:
    other = watched.model_copy(update={"velocity": watched.velocity[:1]})
    file = tmp_path / "state.db"
    sqlite_store.uri = str(file)
    sqlite_store.open(watched)

    with pytest.raises(StateMismatch, match="whitecrow backfill") as refused:
        sqlite_store.open(other)

    message = str(refused.value)
    assert "\n" not in message
    assert velocity_plan(watched).state_key[:12] in message
    assert velocity_plan(other).state_key[:12] in message


def test_a_file_that_is_no_database_is_one_line(sqlite_store, watched, tmp_path) -> None:
    file = tmp_path / "state.db"
    file.write_text("hello" * 1_000)
    sqlite_store.uri = str(file)

    with pytest.raises(StateUnreachable, match="not a database") as refused:
        sqlite_store.open(watched)

    assert "\n" not in str(refused.value)


def test_a_folder_that_cannot_be_made_is_one_line(sqlite_store, watched, tmp_path) -> None:
    (tmp_path / "file").write_text("in the way")
    sqlite_store.uri = str(tmp_path / "file" / "state.db")

    with pytest.raises(StateUnreachable, match="WHITECROW_STATE_URI"):
        sqlite_store.open(watched)


def test_a_file_that_stays_locked_is_unreachable_for_writes_and_readable(
    sqlite_store, watched, event, report, features
) -> None:
    sqlite_store.open(watched).apply([event(1, id="a")])
    guard = SkewGuard(0, lambda: sqlite_store.now)
    state = SqliteState.open(
        state_file(sqlite_store.folder, watched), "watched", velocity_plan(watched),
        guard=guard, busy_timeout=0.05,
    )  # fmt: skip
    sqlite_store.opened.append(state)

    with closing(sqlite3.connect(state_file(sqlite_store.folder, watched))) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StateUnreachable, match="locked by another process") as refused:
            state.apply([event(2, id="b")])
        with pytest.raises(StateUnreachable):
            state.report_labels([report("a", 1, 1)])
        assert features(state, event(2))["card_count_1d"] == 1

    assert "\n" not in str(refused.value)
    assert state.apply([event(2, id="b")]) == [Applied.APPLIED]


def test_a_full_disk_is_told_and_leaves_no_half_of_an_event(
    state, sqlite_store, watched, event, features
) -> None:
    state.apply([event(1)])
    pages = state._connection.execute("PRAGMA page_count").fetchone()[0]
    state._connection.execute(f"PRAGMA max_page_count = {pages}")
    many = [event(2, id=f"{n}", card=f"c{n}") for n in range(1_000)]

    with pytest.raises(StateUnreachable, match="full"):
        state.apply(many)
    state._connection.execute(f"PRAGMA max_page_count = {pages * 1_000}")

    assert state.seen(many) == [None] * 1_000
    assert features(state, event(3, card="c7"))["card_count_1d"] == 0
    assert set(state.apply(many)) == {Applied.APPLIED}


def test_size_is_bounded_by_look_back_and_lateness(state, event) -> None:
    n_days, per_day = 60, 150
    for day in range(n_days):
        for n in range(per_day):
            state.apply([event(24 * day + n / per_day, card=f"c{day}-{n}", shop=f"s{n % 9}")])

    held = state.describe()
    n_live = 8 * per_day  # the longest look-back and a day

    assert held.n_events < 1.3 * n_live
    assert held.n_entities < 1.7 * (2 * n_live + 9)


@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("n", [20_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_a_million_rows_of_one_entity_stay_correct(state, event, features, n) -> None:
    """A third comes in order, the others late."""
    seconds = 3 * 86_400 / n
    numbers = [*range(0, n, 3), *range(1, n, 3), *range(2, n, 3)]

    def event_of(number: int):
        hours = number * seconds / 3_600
        return event(hours, id=f"{number}", shop=f"s{number % 50}", amount=number % 1_000)

    for at in range(0, n, 20_000):
        state.apply([event_of(number) for number in numbers[at : at + 20_000]])

    found = features(state, event(72, shop="s7"))
    last_day = range(n - n // 3, n)
    assert found["card_count_7d"] == n
    assert found["card_count_1d"] == len(last_day)
    assert found["card_amount_sum_7d"] == n // 1_000 * 499_500
    assert found["card_amount_max_7d"] == 999
    assert found["card_amount_min_7d"] == 0
    assert found["card_distinct_shop_7d"] == 50
    assert found["card_amount_mean_1d"] == pytest.approx(
        sum(number % 1_000 for number in last_day) / len(last_day), rel=1e-12
    )
    assert found["card_amount_std_7d"] == pytest.approx(288.675, abs=0.01)
    assert found["card_shop_count_1d"] == len([at for at in last_day if at % 50 == 7])
    assert found["shop_label_count_5d"] == len([at for at in range(n // 3) if at % 50 == 7])
    assert state.hot_entities(1)[0].n_events == n


def test_the_log_does_not_grow_with_what_is_written(
    sqlite_store, watched, event, monkeypatch
) -> None:
    monkeypatch.setattr(sqlite_upkeep, "_EVENTS_PER_CHECKPOINT", 50)
    monkeypatch.setattr(checkpointing, "_LONG_LOG", 300)
    state = sqlite_store.open(watched)

    for n in range(2_000):
        state.apply([event(n / 100, card=f"c{n % 50}")])
    log = state_file(sqlite_store.folder, watched).with_suffix(".db-wal")
    pages = log.stat().st_size / 4_096
    state.close()

    # Ten pages an event and more without checkpoints; how soon those come is the machine's affair.
    assert pages < 10_000
    assert not log.exists()


def test_a_flush_keeps_the_locks_of_this_process(sqlite_store, watched, event) -> None:
    state = sqlite_store.open(watched)
    state.apply([event(1)])
    path = state_file(sqlite_store.folder, watched)
    log = path.with_suffix(".db-wal")

    checkpointing.flush(path)
    code = f"import sqlite3; sqlite3.connect({str(path)!r}).execute('SELECT * FROM about')"
    subprocess.run([sys.executable, "-c", code], check=True)

    # Whoever closes the last connection folds the log and drops it: here, this process.
    assert log.exists()
    state.close()
    assert not log.exists()


def test_thousands_of_rows_at_one_instant_keep_their_labels(state, event, report, features) -> None:
    n = 3_000
    names = [f"{number}" for number in range(n)]
    for at in range(0, n, 500):
        state.apply([event(1, id=name) for name in names[at : at + 500]])
    state.report_labels([report(name, 1, 2) for name in names[:700]])
    state.report_labels([report(name, 0, 3) for name in names[:100]])

    found = features(state, event(49.5))

    assert found["shop_label_count_5d"] == n
    assert found["shop_label_rate_5d"] == 600 / n
    assert features(state, event(2))["card_count_1h"] == n


def test_hot_entities_expire_too(state, event, features) -> None:
    state.apply([event(n / 50, id=f"{n}") for n in range(2_000)])  # 40 hours
    state.apply([event(24 * 9)])

    assert state.evict() == 1_200  # those of the first day
    assert state.hot_entities(1)[0].n_events < 1_000
    state.apply([event(24 * 30)])
    state.evict()
    assert state.hot_entities(1) == []
    assert state.describe().n_entities == 3
    assert features(state, event(24 * 30 + 1))["card_count_7d"] == 1


def test_what_another_process_did_to_a_hot_entity_is_seen(
    sqlite_store, watched, event, features
) -> None:
    mine, other = sqlite_store.open(watched), sqlite_store.open(watched)
    mine.apply([event(2 + n / 1_000, id=f"{n}") for n in range(2_000)])
    assert features(mine, event(5))["card_count_1d"] == 2_000

    other.apply([event(1, id="late"), event(4.5, id="new")])

    assert features(mine, event(5))["card_count_1d"] == 2_002
    assert features(mine, event(1.5))["card_count_1d"] == 1

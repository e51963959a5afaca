"""A backfilled state is the state that had seen every row, however often it was interrupted."""

import json
import math
import threading
from collections.abc import Callable

import pytest

from features.online.backfill import BackfillProgress, BackfillRefused, backfill
from features.online.events import Event
from features.online.history import History
from features.online.proof import prove
from features.online.state import Applied
from features.velocity_table import add_velocity

N = 180


@pytest.fixture
def history(watched, stream, store) -> Callable[..., History]:
    """Makes the history of a stream of ``watched``: 180 rows in 180 hours, all of them kept."""

    def make(**options: object) -> History:
        table = stream(N, seed=0).table
        raw = table.rename({"label": "fraud", "label_reported_at": "reported"})
        return History.of(raw, watched, name="ab12", clock=lambda: store.now, **options)

    return make


def test_a_backfilled_state_gives_the_features_of_the_table(
    store, watched, history, features
) -> None:
    state, past = store.open(watched), history()

    done = backfill(state, past, source="x", rows_at_once=40)

    assert (done.n_done, done.applied, done.duplicates) == (N, N, 0)
    offline = add_velocity(past.frame, watched).rows(named=True)
    for event, row in zip(past.events(0, N), offline, strict=True):
        for name, value in features(state, event).items():
            wanted = row[name]
            assert math.isnan(value) if wanted is None else value == pytest.approx(wanted, 1e-12)


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_a_state_can_be_built_as_of_any_moment(store, watched, history, share) -> None:
    whole = history()
    moment = whole.frame["when"][int(N * share)]
    state, past = store.open(watched), history(as_of=moment)

    backfill(state, past, source="x")

    assert past.counts.later > 0
    assert state.newest() == past.events(0, N)[-1].event_time
    assert prove(state, past).holds


def test_an_interrupted_backfill_goes_on_where_it_stopped(store, watched, history) -> None:
    class Interrupted(Exception):
        pass

    def interrupt(done: int, total: int) -> None:
        seen.append(done)
        if done == 120:
            raise Interrupted

    seen: list[int] = []
    past = history()
    with pytest.raises(Interrupted):
        backfill(store.open(watched), past, source="x", rows_at_once=40, on_progress=interrupt)

    state = store.open(watched)
    assert BackfillProgress.of(state, "x", N).n_done == 120
    done = backfill(
        state, past, source="x", rows_at_once=40, on_progress=lambda done, _: seen.append(done)
    )

    assert seen == [40, 80, 120, 160, 180]
    assert (done.applied, done.duplicates) == (N, 0)
    assert prove(state, past).holds


def test_a_backfill_that_was_done_loads_nothing_again(store, watched, history) -> None:
    state, past = store.open(watched), history()
    backfill(state, past, source="x")
    called: list[int] = []

    done = backfill(state, past, source="x", on_progress=lambda done, _: called.append(done))

    assert called == []
    assert done.applied == N


def test_another_history_is_loaded_from_its_start_and_shared_rows_count_once(
    store, watched, history
) -> None:
    state = store.open(watched)
    shorter = history(as_of=history().frame["when"][90])
    n_shared = shorter.frame.height
    backfill(state, shorter, source="shorter")

    done = backfill(state, history(), source="longer")

    assert (done.duplicates, done.applied) == (n_shared, N - n_shared)
    assert prove(state, history()).holds


def test_rows_that_a_service_applied_before_count_once(store, watched, history) -> None:
    state, past = store.open(watched), history()
    assert set(state.apply(past.events(100, 140))) == {Applied.APPLIED}

    done = backfill(state, past, source="x", rows_at_once=30)

    assert (done.applied, done.duplicates) == (140, 40)
    assert prove(state, past).holds


def test_ids_that_the_state_knows_with_other_content_are_counted(
    store, watched, history, event
) -> None:
    state, past = store.open(watched), history()
    state.apply([event(1, id=past.events(0, 1)[0].id)])

    assert backfill(state, past, source="x").conflicts == 1


def test_a_service_at_work_meanwhile_loses_nothing(store, watched, history, features) -> None:
    past = history()
    last = past.events(0, N)[-1].event_time
    service, applied = store.open(watched), []
    newer = [
        Event(f"live {n}", last + 1 + n, 100, ("live", "s0"), ("s0", "chip")) for n in range(150)
    ]

    def serve() -> None:
        for event in newer:
            applied.extend(service.apply([event]))

    thread = threading.Thread(target=serve)
    thread.start()
    done = backfill(store.open(watched), past, source="x", rows_at_once=50, pause=0.03)
    thread.join()

    assert applied == [Applied.APPLIED] * 150
    assert (done.applied, done.too_late) == (N, 0)
    state = store.open(watched)
    row = Event("now", last + 1_000, 100, ("live", "s0"), ("s0", "chip"))
    assert features(state, row)["card_count_1h"] == 150
    assert prove(state, past).holds


def test_history_that_the_state_would_not_keep_is_refused(store, watched, history, event) -> None:
    state, past = store.open(watched), history()
    state.apply([event(24 * 60)])

    with pytest.raises(BackfillRefused, match=r"would keep nothing.*--state") as refused:
        backfill(state, past, source="x")

    assert "\n" not in str(refused.value)
    assert state.progress() is None


def test_rows_that_the_state_no_longer_keeps_are_counted(store, watched, history, event) -> None:
    state, past = store.open(watched), history()
    first = past.events(0, 1)[0].event_time
    hours = (first - event(0).event_time) / 3_600_000_000
    state.apply([event(hours + 24 * 8 + 2)])  # all is kept but the first two hours

    done = backfill(state, past, source="x")

    n_old = sum(each.event_time < first + 2 * 3_600_000_000 for each in past.events(0, N))
    assert done.too_late == n_old > 0
    assert done.applied == N - n_old


@pytest.mark.parametrize("noted", ["", "half", "[]", json.dumps({"rows": 12}), '"x"'])
def test_a_note_that_is_not_ours_is_not_gone_on_from(store, watched, event, noted) -> None:
    state = store.open(watched)
    state.load([event(1)], [], noted)

    assert BackfillProgress.of(state, "x", N) == BackfillProgress("x", N)

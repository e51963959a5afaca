"""The proof holds for the state of a table, and for no other."""

from collections.abc import Callable

import pytest

from features.online.backfill import backfill
from features.online.events import Event, LabelReport
from features.online.history import History
from features.online.proof import prove

HOUR = 3_600_000_000
DAY = 24 * HOUR


@pytest.fixture
def history(watched, stream, sqlite_store) -> History:
    table = stream(180, seed=3).table
    raw = table.rename({"label": "fraud", "label_reported_at": "reported"})
    return History.of(raw, watched, name="ab12", clock=lambda: sqlite_store.now)


@pytest.fixture
def state(sqlite_store, watched, history):
    made = sqlite_store.open(watched)
    backfill(made, history, source="x")
    return made


@pytest.fixture
def another() -> Callable[..., Event]:
    def make(time: int, card: str | None = "c1", shop: str | None = "s1") -> Event:
        return Event(f"another at {time}", time, 1_250, (card, shop), (shop, "chip"))

    return make


@pytest.fixture
def newest(history) -> int:
    return history.events(179, 180)[0].event_time


def test_it_holds_and_says_what_was_compared(state, history) -> None:
    proof = prove(state, history)

    assert proof.holds
    assert proof.n_rows == 4 + 4 * 3 + 3  # every card, pair and shop: fewer than are sampled
    assert proof.n_values == proof.n_rows * proof.n_features
    assert proof.to_json()["n_different"] == 0


def test_a_sample_is_of_the_largest_and_of_others(state, history) -> None:
    assert prove(state, history, n_entities=2).n_rows == 3 * 2


def test_one_more_event_is_noticed(state, history, another, newest) -> None:
    state.apply([another(newest - HOUR)])

    proof = prove(state, history)

    assert not proof.holds
    assert proof.first_different_feature == "card_count_1d"
    assert proof.n_different > 3


def test_one_event_less_is_noticed(sqlite_store, watched, history, tmp_path) -> None:
    sqlite_store.folder = tmp_path / "other"
    state = sqlite_store.open(watched)
    state.apply([*history.events(0, 170), *history.events(171, 180)])

    assert not prove(state, history).holds


def test_a_label_too_many_is_noticed(state, history, newest) -> None:
    negative = next(
        event.id
        for event in history.events(0, 180)
        if event.entities[1] is not None
        and newest - 5 * DAY < event.event_time < newest - 3 * DAY
        and event.id not in {report.id for report in history.reports(0, 180)}
    )

    state.report_labels([LabelReport(negative, 1, newest - DAY)])

    proof = prove(state, history)
    assert proof.first_different_feature is not None
    assert proof.first_different_feature.startswith("shop_label_rate")


def test_events_after_the_history_do_not_matter(state, history, another, newest) -> None:
    state.apply([another(newest + 1 + n) for n in range(50)])

    assert prove(state, history).holds


def test_what_a_state_that_moved_on_keeps_no_more_is_not_compared(
    state, history, another, newest
) -> None:
    every = prove(state, history).n_features
    state.apply([another(newest + 3 * DAY)])
    state.evict()

    proof = prove(state, history)

    # Of the state's 8 days, 5 are left before the history's end: not for what looks back 7.
    assert proof.holds
    assert 0 < proof.n_features < every


def test_where_nothing_can_be_compared_nothing_is_proven(state, history, another, newest) -> None:
    state.apply([another(newest + 30 * DAY)])

    proof = prove(state, history)

    assert (proof.n_features, proof.n_values, proof.holds) == (0, 0, False)

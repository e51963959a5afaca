"""What every store of online state keeps to, whatever it is made of."""

import math
import random
import threading

import numpy as np
import pytest

from features.online.evaluator import VelocityEvaluator
from features.online.state import Applied, ClockSkewRefused, LabelCounts
from features.velocity import velocity_plan
from features.velocity_table import add_velocity


def _equal(found: dict[str, float], wanted: dict[str, float | None]) -> None:
    for name, value in found.items():
        other = wanted[name]
        if other is None:
            assert math.isnan(value), name
        elif any(kind in name for kind in ("_count_1", "_count_7", "label_count", "distinct")):
            assert value == other, name
        else:
            assert value == pytest.approx(other, rel=1e-12, abs=0), name


@pytest.mark.parametrize("seed", range(3))
def test_a_settled_state_gives_the_features_of_the_table(
    state, watched, stream, features, seed
) -> None:
    made = stream(150, seed=seed)
    shuffled = random.Random(seed).sample(made.events, len(made.events))

    for at in range(0, len(shuffled), 40):  # in any order, in parts, labels in between
        state.apply(shuffled[at : at + 40])
        state.report_labels(made.reports[at // 4 : at // 4 + 10])
    state.report_labels(made.reports)

    offline = add_velocity(made.table, watched).rows(named=True)
    for event, row in zip(made.events, offline, strict=True):
        _equal(features(state, event), row)


def test_the_pasts_of_many_events_are_those_of_each(state, stream, watched) -> None:
    events = stream(120, seed=7).events
    state.apply(events)
    evaluate = VelocityEvaluator(velocity_plan(watched)).evaluate

    together = [evaluate(e, past) for e, past in zip(events, state.past(events), strict=True)]
    apart = [evaluate(event, state.past([event])[0]) for event in events]

    np.testing.assert_array_equal(np.array(together), np.array(apart))


def test_no_events_are_answered_with_nothing(state) -> None:
    assert state.past([]) == []
    assert state.apply([]) == []
    assert state.seen([]) == []
    assert state.report_labels([]) == LabelCounts(0, 0, 0)


def test_an_event_is_the_past_of_strictly_later_rows_only(state, event, features) -> None:
    state.apply([event(1)])

    assert features(state, event(0.5))["card_count_1d"] == 0
    assert features(state, event(1))["card_count_1d"] == 0
    assert features(state, event(1.001))["card_count_1d"] == 1
    assert features(state, event(25))["card_count_1d"] == 1  # t - w is inside
    assert features(state, event(25.001))["card_count_1d"] == 0


def test_a_retry_counts_once(state, event, features) -> None:
    first = event(1, id="a")

    assert state.apply([first]) == [Applied.APPLIED]
    assert state.apply([first, first]) == [Applied.DUPLICATE, Applied.DUPLICATE]
    assert features(state, event(2))["card_count_1d"] == 1


def test_a_repeat_within_one_call_counts_once(state, event, features) -> None:
    first = event(1, id="a")

    assert state.apply([first, first]) == [Applied.APPLIED, Applied.DUPLICATE]
    assert features(state, event(2))["card_count_1d"] == 1


@pytest.mark.parametrize(
    "change",
    [{"amount": 11.0}, {"amount": None}, {"card": "d"}, {"card": None}, {"mode": "swipe"}],
)
def test_an_id_reused_for_other_content_is_a_conflict_and_stores_nothing(
    state, event, features, change
) -> None:
    state.apply([event(1, id="a")])

    assert state.apply([event(1, id="a", **change)]) == [Applied.CONFLICT]
    assert state.apply([event(2, id="a")]) == [Applied.CONFLICT]
    found = features(state, event(3))
    assert found["card_count_1d"] == 1
    assert found["card_amount_sum_1d"] == 10
    assert features(state, event(3, card="d"))["card_count_1d"] == 0


def test_seen_says_what_applying_would_find(state, event) -> None:
    known = event(1, id="a")
    state.apply([known])

    found = state.seen([known, event(1, id="a", amount=2.0), event(1, id="b")])

    assert found == [Applied.DUPLICATE, Applied.CONFLICT, None]


def test_a_late_event_takes_its_place_in_time(state, event, features) -> None:
    state.apply([event(10, amount=1.0)])
    state.apply([event(2, amount=4.0)])
    state.apply([event(6, amount=2.0)])

    assert features(state, event(5))["card_amount_sum_1d"] == 4
    assert features(state, event(7))["card_amount_sum_1d"] == 6
    assert features(state, event(11))["card_amount_sum_1d"] == 7
    assert features(state, event(11))["card_seconds_since_last"] == 3_600


def test_a_row_without_an_entity_is_nobodys_event(state, event, features) -> None:
    state.apply([event(1, card=None), event(2, shop=None), event(3)])

    found = features(state, event(4, card=None))
    assert math.isnan(found["card_count_1d"])
    assert math.isnan(found["card_shop_count_1d"])
    assert features(state, event(4))["card_count_1d"] == 2
    assert features(state, event(4))["card_shop_count_1d"] == 1


def test_entities_whose_parts_run_together_are_two(state, event, features) -> None:
    state.apply([event(1, card="a|b", shop="c"), event(1, card="a", shop="b|c")])

    assert features(state, event(2, card="a", shop="b|c"))["card_shop_count_1d"] == 1


def test_texts_of_every_kind_name_entities(state, event, features) -> None:
    names = ["", " ", "0:1", "ü – 漢字 🐦", "a\nb", "a\x00b", "'; DROP TABLE entity; --"]
    state.apply([event(1, card=name) for name in names])

    counts = [features(state, event(2, card=name))["card_count_1d"] for name in names]

    assert counts == [1] * len(names)


def test_negative_and_huge_amounts(state, event, features) -> None:
    largest = 10**10  # in euro: 10^12 cents are the most that counts
    state.apply([event(1, amount=-5.5), event(2, amount=largest), event(3, amount=largest + 0.01)])

    found = features(state, event(4))
    assert found["card_count_1d"] == 3
    assert found["card_amount_sum_1d"] == largest - 5.5
    assert found["card_amount_max_1d"] == largest
    assert found["card_amount_min_1d"] == -5.5


def test_an_event_that_nothing_can_look_back_to_is_too_late(state, event, features) -> None:
    state.apply([event(24 * 30)])

    # The longest look-back is 7 days, and events may be one day late.
    assert state.apply([event(24 * 21.9, id="late")]) == [Applied.TOO_LATE]
    assert state.apply([event(24 * 22)]) == [Applied.APPLIED]
    assert state.apply([event(24 * 21.9, id="late")]) == [Applied.DUPLICATE]


def test_events_expire_once_no_feature_can_look_back_to_them(state, event) -> None:
    state.apply([event(hours, card=f"c{hours}") for hours in range(48)])
    state.apply([event(24 * 9)])  # 7 days of look-back and one of lateness before: day 1

    assert state.evict() == 24
    assert state.describe().n_events == 25
    assert state.evict() == 0


def test_what_expired_is_not_seen_any_more_and_the_rest_is(state, event, features) -> None:
    state.apply([event(0, id="old"), event(30, id="young")])
    state.apply([event(24 * 9)])
    state.evict()

    assert state.seen([event(0, id="old"), event(30, id="young")])[0] is None
    assert features(state, event(24 * 8))["card_count_7d"] == 1


def test_a_row_ahead_of_the_clock_is_refused_and_does_not_move_the_eviction_clock(
    store, watched, event
) -> None:
    state = store.open(watched)
    years = event(24 * 365 * 5, id="years ahead")
    state.apply([event(1)])

    with pytest.raises(ClockSkewRefused, match=r"max_clock_skew allows 0:05:00") as refused:
        state.apply([event(2, id="b"), years])

    assert "\n" not in str(refused.value)
    assert state.seen([years, event(2, id="b")]) == [None, None]
    assert state.evict() == 0
    assert state.apply([event(2, id="b")]) == [Applied.APPLIED]


def test_a_row_within_the_clock_skew_is_taken(store, watched, event) -> None:
    state = store.open(watched)
    store.now = event(0).event_time

    assert state.apply([event(4 / 60)]) == [Applied.APPLIED]
    with pytest.raises(ClockSkewRefused):
        state.apply([event(6 / 60)])


def test_a_label_from_the_future_is_refused(state, event, report) -> None:
    state.apply([event(1, id="a")])

    with pytest.raises(ClockSkewRefused, match="label report"):
        state.report_labels([report("a", 1, 24 * 365 * 5)])


def test_a_positive_counts_from_its_report_on(state, event, report, features) -> None:
    state.apply([event(0, id="a"), event(0, id="b", card="d")])

    counts = state.report_labels([report("a", 1, 60)])

    assert counts == LabelCounts(accepted=1, duplicates=0, unknown=0)
    assert math.isnan(features(state, event(48))["shop_label_rate_5d"])  # the delay: 2 days
    assert features(state, event(60))["shop_label_rate_5d"] == 0  # known strictly before
    assert features(state, event(60.001))["shop_label_rate_5d"] == 0.5
    assert features(state, event(60.001))["shop_label_count_5d"] == 2


def test_a_label_may_come_before_its_event(state, event, report, features) -> None:
    assert state.report_labels([report("a", 1, 1)]) == LabelCounts(0, 0, unknown=1)
    assert state.seen([event(0, id="a")]) == [None]

    assert state.apply([event(0, id="a")]) == [Applied.APPLIED]

    assert features(state, event(49))["shop_label_rate_5d"] == 1
    assert state.apply([event(0, id="a")]) == [Applied.DUPLICATE]


def test_the_last_report_counts_in_whatever_order_they_come(state, event, report, features) -> None:
    state.apply([event(0, id=name) for name in "abcd"])
    early, late = report("a", 1, 3), report("a", 0, 4)

    assert state.report_labels([early, late]).accepted == 2
    state.report_labels([report("b", 0, 4)])
    assert state.report_labels([report("b", 1, 3)]) == LabelCounts(0, duplicates=1, unknown=0)
    state.report_labels([report("c", 1, 3), report("c", 1, 3)])

    assert features(state, event(49))["shop_label_rate_5d"] == 0.25


def test_reports_before_the_event_are_ordered_too(state, event, report, features) -> None:
    state.report_labels([report("a", 1, 4), report("a", 0, 3), report("b", 1, 3)])
    state.report_labels([report("b", 0, 5)])

    state.apply([event(0, id="a"), event(0, id="b")])

    assert features(state, event(49))["shop_label_rate_5d"] == 0.5


def test_a_report_repeated_is_a_duplicate(state, event, report) -> None:
    state.apply([event(0, id="a")])

    assert state.report_labels([report("a", 1, 1)]).accepted == 1
    assert state.report_labels([report("a", 1, 1)]) == LabelCounts(0, 1, 0)


def test_history_is_loaded_with_its_progress(store, watched, event, report, features) -> None:
    state = store.open(watched)
    assert state.progress() is None

    state.load([event(0, id="a"), event(1)], [report("a", 1, 2)], "2 rows of ab12")

    assert store.open(watched).progress() == "2 rows of ab12"
    assert features(state, event(49.5))["shop_label_rate_5d"] == 0.5


def test_history_from_the_future_is_loaded_not_at_all(store, watched, event) -> None:
    state = store.open(watched)

    with pytest.raises(ClockSkewRefused):
        state.load([event(0, id="a"), event(24 * 365 * 5)], [], "2 rows")

    assert state.progress() is None
    assert state.seen([event(0, id="a")]) == [None]


def test_what_was_applied_is_there_after_reopening(store, watched, event, report, features) -> None:
    first = store.open(watched)
    first.apply([event(0, id="a"), event(24 * 9, id="z")])
    first.report_labels([report("a", 1, 1)])

    second = store.open(watched)

    assert second.apply([event(0, id="a"), event(24 * 9, id="z")]) == [Applied.DUPLICATE] * 2
    assert features(second, event(24 * 9 + 1))["card_count_7d"] == 1
    assert second.describe().newest_event_time == event(24 * 9).event_time


def test_the_state_of_another_feature_set_is_another_one(store, watched, event) -> None:
    other = watched.model_copy(update={"velocity": watched.velocity[:1]})
    store.open(watched).apply([event(1, id="a")])

    assert store.open(other).seen([event(1, id="a")]) == [None]


def test_writers_at_the_same_time_lose_no_event(store, watched, event, features) -> None:
    events = [event(1 + n / 1_000, id=f"{n}") for n in range(200)]

    def write(part) -> None:
        state = store.open(watched)
        for each in part:
            state.apply([each])

    threads = [threading.Thread(target=write, args=(events[n::4],)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert features(store.open(watched), event(2))["card_count_1h"] == 200


def test_one_state_may_be_used_from_several_threads(state, event, features) -> None:
    events = [event(1 + n / 1_000, id=f"{n}") for n in range(200)]

    def write(part) -> None:
        for each in part:
            state.past([each])
            state.apply([each])

    threads = [threading.Thread(target=write, args=(events[n::4],)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert features(state, event(2))["card_count_1h"] == 200


def test_an_entity_with_many_events_is_exact_and_reported(state, event, features) -> None:
    n = 3_000
    events = [event(n_ / 100, id=f"{n_}", shop=f"s{n_ % 7}", amount=n_ % 13) for n_ in range(n)]
    late = random.Random(1).sample(events, n)

    for at in range(0, n, 100):
        state.apply(late[at : at + 100])

    found = features(state, event(30))
    last_day = events[600:]
    assert found["card_count_1d"] == 2_400
    assert found["card_amount_sum_1d"] == sum(n_ % 13 for n_ in range(600, n))
    assert found["card_distinct_shop_1d"] == len({each.entities[1] for each in last_day})
    hottest = state.hot_entities(1)[0]
    assert (hottest.entity, hottest.key, hottest.n_events) == (("card",), "c", n)


def test_personal_entities_are_not_stored_in_clear(store, watched, event, features) -> None:
    columns = watched.columns.model_copy(update={"pii": ("card",)})
    state = store.open(watched.model_copy(update={"columns": columns}))
    state.apply([event(n / 100, card="4242424242424242") for n in range(400)])

    hot = state.hot_entities(10)

    assert features(state, event(5, card="4242424242424242"))["card_count_1d"] == 400
    assert ("card",) in [each.entity for each in hot]
    assert not any("4242" in each.key for each in hot)


def test_describe_says_what_is_held(state, watched, event) -> None:
    empty = state.describe()
    state.apply([event(1), event(2, card="d")])

    found = state.describe()

    assert (empty.n_entities, empty.n_events, empty.newest_event_time) == (0, 0, None)
    assert found.contract == "watched"
    assert found.state_key == velocity_plan(watched).state_key
    assert (found.n_entities, found.n_events) == (5, 2)  # two cards, two pairs, one shop
    assert found.newest_event_time == event(2).event_time
    assert found.n_bytes > 0

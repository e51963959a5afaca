"""Members hold what was stored, and sort by moment within their second."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.online.events import Event
from features.online.past import MISSING, entity_layouts, stored_amount, value_code
from features.online.redis_members import (
    MemberLayout,
    digest_in,
    event_record,
    score_of,
    word,
)
from features.velocity import velocity_plan

MOMENTS = st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999)  # years 1 to 9999
TEXTS = st.none() | st.text(max_size=5)
EVENTS = st.builds(
    lambda time, amount, shop, mode: Event("id", time, amount, ("c", shop), (shop, mode)),
    MOMENTS, st.none() | st.integers(-(2**63), 2**63 - 1), TEXTS, TEXTS,
)  # fmt: skip


@pytest.fixture(scope="module")
def members(everything) -> list[MemberLayout]:
    from features.contract import parse_contract

    plan = velocity_plan(parse_contract(everything(), source="watched.toml"))
    return [MemberLayout(layout) for layout in entity_layouts(plan)]


@given(events=st.lists(EVENTS, max_size=4))
def test_what_is_packed_is_read_back(members, events) -> None:
    for each in members:
        past = each.past([each.pack(event, event.digest) for event in events])

        layout = each.layout
        assert list(past.times) == [event.event_time for event in events]
        if layout.amounts:
            assert list(past.amounts) == [stored_amount(event.amount_minor) for event in events]
        assert [list(column) for column in past.values] == [
            [value_code(event.values[position]) for event in events] for position in layout.values
        ]
        if layout.labels:
            assert list(past.reports) == [MISSING] * len(events)


@given(first=EVENTS, second=EVENTS, offset=st.integers(0, 999_999))
def test_scores_and_then_bytes_are_in_the_order_of_time(members, first, second, offset) -> None:
    near = Event(
        "near", score_of(first.event_time) * 1_000_000 + offset, None, ("c", "s"), (None, None)
    )
    for one, other in ((first, second), (first, near)):
        for each in members:
            places = [
                (float(score_of(event.event_time)), each.pack(event, event.digest))
                for event in (one, other)
            ]
            if one.event_time != other.event_time:
                assert (places[0] < places[1]) == (one.event_time < other.event_time)


def test_two_events_alike_but_for_their_ids_are_two_members(members) -> None:
    events = [Event(name, 0, 1, ("c", "s"), ("s", "chip")) for name in "ab"]

    for each in members:
        assert len({each.pack(event, event.digest) for event in events}) == 2


def test_a_record_gives_its_digest_and_a_report_that_waits_gives_none() -> None:
    event = Event("a", 5, None, ("c",), ())

    assert digest_in(event_record(event, event.digest, [b"0:c"])) == event.digest
    assert digest_in(event_record(event, event.digest, [])[:17]) == event.digest
    assert digest_in(b"P" + word(7)) is None
    assert digest_in(b"") is None
    assert digest_in(None) is None

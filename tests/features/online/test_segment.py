"""Segments give back what was packed, whatever was put into them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.online.past import MISSING, EntityLayout
from features.online.segment import Record, Segment

LAYOUT = EntityLayout(("c",), lambda _: None, 0, amounts=True, values=(0, 2), labels=True)
BARE = EntityLayout(("c",), lambda _: None, 0, amounts=False, values=(), labels=False)

codes = st.integers(-(2**63) + 1, 2**63 - 1) | st.just(MISSING)
amounts = st.integers(-(10**12), 10**12) | st.integers(-100, 100) | st.just(MISSING)
records = st.lists(
    st.builds(
        Record, st.integers(-50, 50), amounts, st.tuples(codes, codes), st.just(MISSING) | codes
    ),
    max_size=40,
)


def _filled(given_records, layout=LAYOUT) -> Segment:
    segment = Segment.empty(layout)
    for record in given_records:
        segment.insert(record, has_amounts=layout.amounts)
    return segment


def _columns(segment: Segment) -> tuple:
    past = segment.past
    reports = past.reports if len(past.reports) else [MISSING] * len(segment)
    return tuple(list(column) for column in (past.times, past.amounts, *past.values, reports))


@given(records)
def test_packed_and_unpacked_it_is_the_same(given_records) -> None:
    segment = _filled(given_records)

    again = Segment.unpack(segment.pack(), LAYOUT)

    assert _columns(again) == _columns(segment)
    assert again.pack() == segment.pack()


@given(records)
def test_events_stand_in_order_of_time(given_records) -> None:
    segment = _filled(given_records)

    wanted = sorted(given_records, key=lambda record: record.time)  # stable, as insertion is
    assert _columns(segment) == (
        [record.time for record in wanted],
        [record.amount for record in wanted],
        [record.values[0] for record in wanted],
        [record.values[1] for record in wanted],
        [record.report for record in wanted],
    )


@given(records, st.integers(-60, 60))
def test_what_lies_before_a_moment_can_be_dropped(given_records, cutoff) -> None:
    segment = _filled(given_records)

    n_dropped = segment.drop_before(cutoff)

    kept = [record for record in given_records if record.time >= cutoff]
    assert n_dropped == len(given_records) - len(kept)
    assert _columns(segment) == _columns(_filled(kept))


@given(records, st.integers(0, 40))
def test_split_and_joined_it_is_the_same(given_records, at) -> None:
    segment, whole = _filled(given_records), _filled(given_records)

    before = segment.split(min(at, len(segment)))

    assert len(before) + len(segment) == len(whole)
    assert _columns(before.joined(segment)) == _columns(whole)


def test_a_report_takes_the_place_of_the_one_before() -> None:
    segment = _filled([Record(time, 5, (1, 2), MISSING) for time in (1, 2, 2, 3)])

    assert segment.replace_report(2, MISSING, 21)
    assert segment.replace_report(2, MISSING, 31)
    assert segment.replace_report(2, 21, 40)
    assert sorted(segment.reports) == [MISSING, MISSING, 31, 40]


@pytest.mark.parametrize(("time", "old"), [(4, MISSING), (2, 7)])
def test_a_report_of_an_event_that_is_not_there_changes_nothing(time, old) -> None:
    segment = _filled([Record(2, 5, (1, 2), MISSING)])

    assert not segment.replace_report(time, old, 9)
    assert _columns(segment)[-1] == [MISSING]


def test_columns_that_no_feature_reads_take_no_room() -> None:
    bare = _filled([Record(time, 10**12, (), MISSING) for time in range(10)], BARE)
    small = _filled([Record(time, 5, (1, 2), MISSING) for time in range(10)])
    wide = _filled([Record(time, 10**12, (1, 2), 7) for time in range(10)])

    head = 5
    assert len(bare.pack()) == head + 10 * 8
    assert len(small.pack()) == head + 10 * (8 + 4 + 8 + 8)
    assert len(wide.pack()) == head + 10 * (8 + 8 + 8 + 8 + 8)

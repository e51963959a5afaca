"""Schedules and runs, as the state folder keeps them."""

from datetime import UTC, datetime, timedelta

import pytest

from flows.scheduling.book import RunState, ScheduleBook, UnknownSchedule
from flows.scheduling.schedule import Kind, ScheduleKey

FIRST = datetime(2025, 6, 1, 3, tzinfo=UTC)
SECOND = FIRST + timedelta(days=1)


@pytest.fixture
def book(settings) -> ScheduleBook:
    return ScheduleBook(settings.database)


def test_a_schedule_comes_back_as_it_was_put(book, make) -> None:
    schedule = make(window="180d", data=("a.parquet", "b.parquet"), timezone="Europe/Vienna")

    book.put(schedule)

    assert schedule == book.get(schedule.key)
    assert [schedule] == book.schedules()


def test_another_of_the_same_model_takes_its_place_and_another_kind_stands_beside(
    book, make
) -> None:
    book.put(make())
    book.put(make(cron="0 4 * * *"))
    book.put(make(kind=Kind.MONITOR))

    assert [(schedule.cron, schedule.kind) for schedule in book.schedules()] == [
        ("0 3 * * *", Kind.MONITOR),
        ("0 4 * * *", Kind.RETRAIN),
    ]


def test_what_is_not_scheduled_is_said_with_what_is(book, make) -> None:
    book.put(make())

    with pytest.raises(UnknownSchedule, match=r"no schedule loans \(there are: cards\). Make it: "):
        book.get(ScheduleKey(name="loans"))


def test_what_became_of_a_moment_outlives_its_schedule(book, make) -> None:
    schedule = make()
    book.put(schedule)
    book.end(schedule.key, FIRST, RunState.DONE, details={"version": "2"})

    book.remove(schedule.key)

    assert book.schedules() == []
    run = book.run(schedule.key, FIRST)
    assert run is not None
    assert (run.state, run.details) == (RunState.DONE, {"version": "2"})


def test_every_beginning_of_a_moment_is_counted(book, make) -> None:
    key = make().key

    assert [book.begin(key, FIRST), book.begin(key, FIRST)] == [1, 2]
    assert [run.moment for run in book.begun(key)] == [FIRST]


def test_moments_are_in_order_whatever_zone_they_were_said_in(book, make) -> None:
    key = make().key
    book.end(key, SECOND, RunState.FAILED, why="no rows")
    book.end(key, FIRST.astimezone(), RunState.DONE)

    assert [run.moment for run in book.runs(key)] == [SECOND, FIRST]
    assert [run.moment for run in book.runs(key, newest=1)] == [SECOND]


def test_the_last_moment_of_a_state_is_found(book, make) -> None:
    key = make().key
    book.end(key, FIRST, RunState.DONE)
    book.end(key, SECOND, RunState.FAILED)

    assert book.last(key, RunState.DONE, RunState.RESTED) == FIRST
    assert book.last(key, RunState.DONE, RunState.FAILED) == SECOND
    assert book.last(key, RunState.DONE, before=FIRST) is None


def test_a_silence_is_told_once_and_the_next_one_again(book, make) -> None:
    schedule = make()
    book.put(schedule)

    told = [book.tell_once(schedule.key, since) for since in (FIRST, FIRST, SECOND)]

    assert told == [True, False, True]

"""Nothing good heard of a schedule is told, once."""

import logging
from datetime import UTC, datetime

import pytest

from flows.scheduling.book import RunState, ScheduleBook
from flows.scheduling.schedule import Schedule
from flows.scheduling.silence import silences, tell_silences
from infra.settings import Settings
from tests.flows.scheduling.site import listening


@pytest.fixture
def book(settings) -> ScheduleBook:
    return ScheduleBook(settings.database)


def last(schedule: Schedule, n: int) -> list[datetime]:
    return schedule.moments.last(n, datetime.now(UTC))


def test_a_schedule_that_never_ran_is_silent(settings, book, make) -> None:
    book.put(make())

    (silence,) = silences(settings)

    assert (silence.since, silence.periods, silence.last) == (None, 3, None)
    assert "None was begun: is whitecrow worker running?" in silence.text
    assert "\n" not in silence.text


@pytest.mark.parametrize("state", [RunState.DONE, RunState.RESTED])
def test_one_of_the_last_moments_that_ended_well_is_enough(settings, book, make, state) -> None:
    schedule = make()
    book.put(schedule)
    first, *_ = last(schedule, 4)
    book.end(schedule.key, first, state)

    assert silences(settings, periods=3) == []
    assert len(silences(settings, periods=2)) == 1


def test_failed_moments_are_silence_and_say_why(settings, book, make) -> None:
    schedule = make()
    book.put(schedule)
    moments = last(schedule, 5)
    book.end(schedule.key, moments[0], RunState.DONE)
    book.end(schedule.key, moments[3], RunState.FAILED, why="The label rate is 0.9.")

    (silence,) = silences(settings)

    assert moments[0] == silence.since
    assert silence.text.endswith("failed: The label rate is 0.9.")


def test_the_moment_that_is_due_now_is_not_missed_yet(settings, book, make) -> None:
    schedule = make()
    book.put(schedule)
    before, _ = last(schedule, 2)
    book.end(schedule.key, before, RunState.DONE)

    assert silences(settings, periods=1) == []


def test_a_young_or_a_paused_schedule_is_not_silent(settings, book, make) -> None:
    book.put(make(since=datetime.now(UTC)))
    book.put(make(name="loans", paused=True))

    assert silences(settings) == []


def test_only_the_named_models_are_looked_at(settings, book, make) -> None:
    book.put(make())
    book.put(make(name="loans"))

    assert [silence.key.name for silence in silences(settings, ("loans",))] == ["loans"]


def test_a_silence_is_told_once_to_those_whom_the_settings_name(
    settings, book, make, caplog
) -> None:
    told = Settings(home=settings.home, notify="log")
    schedule = make()
    book.put(schedule)

    with caplog.at_level(logging.WARNING):
        tell_silences(told)
        tell_silences(told)

    subjects = [r.message for r in caplog.records if r.name == "flows.notifying"]
    assert subjects == ["whitecrow: nothing good of cards for 3 moments"]


def test_a_silence_reaches_a_webhook(settings, book, make) -> None:
    book.put(make())

    with listening() as listener:
        told = Settings(home=settings.home, notify=listener.url, webhook_secret="shared")
        tell_silences(told)
        tell_silences(told)

    (silence,) = silences(settings)
    assert listener.bodies == [
        {
            "subject": "whitecrow: nothing good of cards for 3 moments",
            "lines": [silence.text],
            "details": silence.to_json(),
        }
    ]

"""The moments of a cron expression, across changes of the clocks."""

from datetime import UTC, datetime, timedelta

import pytest

from flows.scheduling.moments import Moments, MomentsError


def at(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


def test_both_ends_of_a_time_belong_to_it() -> None:
    daily = Moments("0 3 * * *")

    found = list(daily.between(at(2025, 3, 1, 3), at(2025, 3, 3, 3)))

    assert [at(2025, 3, 1, 3), at(2025, 3, 2, 3), at(2025, 3, 3, 3)] == found


def test_the_newest_moment_is_the_moment_itself_or_before_it() -> None:
    daily = Moments("0 3 * * *")

    assert at(2025, 3, 2, 3) == daily.newest(at(2025, 3, 2, 3))
    assert at(2025, 3, 1, 3) == daily.newest(at(2025, 3, 2, 2, 59))


def test_a_schedule_of_minutes_gives_more_moments_than_one_page() -> None:
    found = list(Moments("* * * * *").between(at(2025, 3, 1), at(2025, 3, 2)))

    assert len(found) == 24 * 60 + 1
    assert found == sorted(set(found))


def test_the_last_moments_reach_back_for_years() -> None:
    found = Moments("0 0 29 2 *").last(2, at(2026, 1, 1))

    assert [at(2024, 2, 29)] == found


def test_a_zone_moves_moments_with_its_clocks() -> None:
    vienna = Moments("0 3 * * *", "Europe/Vienna")

    winter, summer = vienna.newest(at(2025, 1, 10, 12)), vienna.newest(at(2025, 7, 10, 12))

    assert (at(2025, 1, 10, 2), at(2025, 7, 10, 1)) == (winter, summer)


def test_an_hour_that_the_clocks_skip_or_repeat_is_one_moment() -> None:
    vienna = Moments("30 2 * * *", "Europe/Vienna")

    spring = list(vienna.between(at(2025, 3, 29), at(2025, 4, 1)))
    autumn = list(vienna.between(at(2025, 10, 25), at(2025, 10, 28)))

    assert (len(spring), len(autumn)) == (3, 3)


def test_the_next_moment_is_after_this_one() -> None:
    assert at(2025, 3, 3, 3) == Moments("0 3 * * *").after(at(2025, 3, 2, 3))


@pytest.mark.parametrize(
    ("cron", "timezone", "message"),
    [
        ("0 3 * *", "UTC", "--cron: '0 3 * *' cannot be read. Write five fields"),
        ("every day", "UTC", "--cron: 'every day' cannot be read."),
        ("0 0 30 2 *", "UTC", "--cron: '0 0 30 2 *' is never due."),
        ("0 3 * * *", "Nowhere", "--timezone: there is no zone 'Nowhere'."),
        ("0 3 * * *", "Europe", "--timezone: there is no zone 'Europe'."),
        ("0 3 * * *", "../etc", "--timezone: there is no zone '../etc'."),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(cron, timezone, message) -> None:
    with pytest.raises(MomentsError) as refused:
        Moments(cron, timezone).check()

    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)


def test_a_word_for_every_day_is_taken() -> None:
    Moments("@daily").check()

    assert timedelta(days=1) == at(2025, 3, 3) - Moments("@daily").newest(at(2025, 3, 2, 5))

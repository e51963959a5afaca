"""Hours, weekdays, paydays and seasons."""

from datetime import date

import numpy as np

from features.simulation.rhythm import PAYDAYS, PROFILES, activity, draw_seconds, time_table


def test_shares_of_the_profiles_add_up_to_one() -> None:
    assert np.isclose(sum(profile.share for profile in PROFILES), 1.0)


def test_the_time_table_ascends_over_the_whole_day() -> None:
    table = time_table()

    assert (np.diff(table, axis=1) > 0).all()
    assert (table[:, 0] == 0).all()
    assert np.allclose(table[:, -1], 86_400)


def test_evening_people_buy_most_between_19_and_22() -> None:
    evening = [profile.name for profile in PROFILES].index("evening")
    rng = np.random.default_rng(0)
    hour = draw_seconds(rng, time_table(), np.full(20_000, evening, dtype=np.int8)) // 3600

    assert np.bincount(hour, minlength=24).argmax() in {19, 20, 21}
    assert hour.min() >= 0
    assert hour.max() <= 23


def test_a_payday_and_the_two_days_after_raise_activity() -> None:
    """People paid on the 10th; 9 to 13 June 2025 are Monday to Friday."""
    paid_on_10th = PAYDAYS.index(10)
    factors = [activity(date(2025, 6, day))[1, paid_on_10th] for day in (9, 10, 11, 12, 13)]
    weekday = PROFILES[1].weekdays[:5]

    assert np.allclose(np.divide(factors, weekday), [1.0, 1.4, 1.4, 1.4, 1.0])


def test_a_payday_carries_over_the_end_of_a_month() -> None:
    paid_on_1st = PAYDAYS.index(1)
    before, after = activity(date(2025, 6, 30)), activity(date(2025, 7, 1))

    assert np.allclose(before[:, paid_on_1st], [profile.weekdays[0] for profile in PROFILES])
    assert np.allclose(after[:, paid_on_1st], [1.4 * p.weekdays[1] for p in PROFILES])


def test_december_is_busier() -> None:
    monday_in_june, monday_in_december = activity(date(2025, 6, 23)), activity(date(2025, 12, 8))

    assert np.allclose(monday_in_december, 1.2 * monday_in_june)

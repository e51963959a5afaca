"""Labels that come late: curves that a hand can follow, and no bias from rows too young."""

import numpy as np
import pytest

from balancing.metrics.maturity import known_share, reporting_curve, still_to_come


def test_the_curve_is_what_a_hand_computes() -> None:
    # Rows three days old: reports on day 0, 1, 1, 2. Rows two days old: on day 0, 1.
    curve = reporting_curve([0, 1, 1, 2, 0, 1], [3, 3, 3, 3, 2, 2])

    assert curve is not None
    # Within 3 days all; day 2 is told by the older rows: 1 of 4 reports came then.
    # Day 1 by both: of the 5 reports of days 0 and 1 three came on day 1.
    assert curve.share.tolist() == pytest.approx([0, 3 / 4 * 2 / 5, 3 / 4, 1])
    assert curve.n_reports == 6
    assert curve.at([2, 3, 50]).tolist() == pytest.approx([3 / 4, 1, 1])


def test_what_is_still_to_come_is_what_a_hand_computes() -> None:
    curve = reporting_curve([0, 1, 1, 2, 0, 1], [3, 3, 3, 3, 2, 2])
    assert curve is not None

    # Each known positive two days old stands for 4/3 of them.
    found = still_to_come(curve, [2, 2, 2, 3])

    assert found.expected == pytest.approx(1)
    assert found.n_too_young == 0
    assert still_to_come(curve, [0, 3]).n_too_young == 1


def test_reports_cut_off_by_the_present_do_not_bias_the_curve() -> None:
    rng = np.random.default_rng(0)
    age, lag = rng.uniform(0, 60, 40_000), rng.exponential(10, 40_000)
    is_seen = lag <= age

    curve = reporting_curve(lag[is_seen], age[is_seen])

    assert curve is not None
    days = np.arange(60)
    truth = 1 - np.exp(-days / 10)
    naive = np.array([(lag[is_seen] < day).mean() for day in days])
    assert curve.at(days) == pytest.approx(truth, abs=0.02)
    assert abs(naive[10] - truth[10]) > 0.05
    to_come = still_to_come(curve, age[is_seen])
    n_late = int((~is_seen & (curve.at(age) >= 0.1)).sum())
    assert to_come.expected == pytest.approx(n_late, rel=0.1)


def test_rows_count_only_where_they_are_old_enough_to_tell() -> None:
    # Known after 1 day at age 3, after 2.5 days at age 3, never at age 3; never at age 1.
    shares = known_share([1, 2.5, np.nan, np.nan], [3, 3, 3, 1])

    assert shares.tolist() == pytest.approx([0, 1 / 4, 1 / 3, 2 / 3])


@pytest.mark.parametrize(("lag", "age"), [([2], [1]), ([-1], [1]), ([1, 1], [1])])
def test_a_report_outside_its_time_is_refused(lag: list[int], age: list[int]) -> None:
    with pytest.raises(ValueError, match="between its event and the moment"):
        reporting_curve(lag, age)


def test_without_a_report_there_is_no_curve() -> None:
    assert reporting_curve([], []) is None
    assert reporting_curve([0], [0]) is None
    assert known_share([], []).size == 0

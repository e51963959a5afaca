"""Shares and counts carry intervals that hold for few rows."""

import numpy as np
import pytest
from scipy import stats

from balancing.metrics.proportions import count_interval, p_value_of_rise, share_interval


def test_a_share_has_the_wilson_interval() -> None:
    found = share_interval([1] * 10 + [0] * 90)
    expected = stats.binomtest(10, 100).proportion_ci(method="wilson")

    assert found.value == 0.1
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-4)


def test_rows_that_stand_for_others_say_less_than_the_others_would() -> None:
    few = share_interval([1, 0, 0, 0], [100, 100, 100, 100])
    as_few = share_interval([1, 0, 0, 0])

    assert (few.value, few.low, few.high) == (as_few.value, as_few.low, as_few.high)
    mixed = share_interval([1, 0], [1, 3])
    assert mixed.value == 0.25


def test_no_rows_have_no_share() -> None:
    assert np.isnan(share_interval([]).value)
    assert np.isnan(share_interval([1, 0], [0, 0]).low)


def test_a_count_covers_its_poisson_mean() -> None:
    rng = np.random.default_rng(0)
    found = [count_interval(int(count)) for count in rng.poisson(7, 2000)]

    assert np.mean([each.low <= 7 <= each.high for each in found]) > 0.95
    assert count_interval(0).low == 0


@pytest.mark.parametrize(("before", "now"), [((0, 0), (1, 10)), ((0, 10), (0, 10))])
def test_what_cannot_rise_did_not(before: tuple[int, int], now: tuple[int, int]) -> None:
    assert p_value_of_rise(before, now) == 1.0


def test_a_fall_is_no_rise() -> None:
    assert p_value_of_rise((500, 1000), (100, 1000)) > 0.99
    assert p_value_of_rise((100, 1000), (500, 1000)) < 1e-9

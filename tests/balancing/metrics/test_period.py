"""Days that rows cover."""

import numpy as np
import pytest

from balancing.metrics.period import period_days


def test_two_months_dated_on_their_first_count_as_two_months() -> None:
    assert period_days(["2018-05-01", "2018-06-01", "2018-06-01"]) == pytest.approx(62)


def test_many_instants_count_from_the_first_to_the_last() -> None:
    seconds = np.arange(86_400)
    times = np.datetime64("2018-01-01", "us") + seconds.astype("timedelta64[s]")

    assert period_days(times) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "times", [[], ["NaT"], ["2018-01-01"], ["2018-01-01", "2018-01-01", "NaT"]]
)
def test_one_instant_has_no_length(times: list[str]) -> None:
    assert period_days(times) is None

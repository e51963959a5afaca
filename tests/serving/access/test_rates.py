"""A bucket lets through what its rate allows, and says how long to wait for more."""

import pytest

from serving.access.rates import Rate, TokenBucket, UnreadableRate


class Clock:
    """A clock that stands until it is set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_second_saves_up_a_second_and_no_more(clock: Clock) -> None:
    bucket = TokenBucket(Rate(3.0), clock)

    assert [bucket.take() for _ in range(3)] == [0.0, 0.0, 0.0]
    assert bucket.take() == pytest.approx(1 / 3)
    clock.now = 100.0
    assert [bucket.take() > 0 for _ in range(4)] == [False, False, False, True]


def test_what_is_refused_costs_nothing(clock: Clock) -> None:
    bucket = TokenBucket(Rate(2.0), clock)
    bucket.take(2)
    for _ in range(10):
        assert bucket.take() == pytest.approx(0.5)

    clock.now = 0.5
    assert bucket.take() == 0.0


def test_a_batch_larger_than_the_bucket_passes_when_it_is_full_and_is_paid_off(
    clock: Clock,
) -> None:
    bucket = TokenBucket(Rate(10.0), clock)

    assert bucket.take(25) == 0.0
    assert bucket.take(1) == pytest.approx(1.6), "15 are owed and one is wanted"
    clock.now = 1.6
    assert bucket.take(1) == 0.0


def test_a_slow_rate_still_lets_one_through(clock: Clock) -> None:
    bucket = TokenBucket(Rate(0.1), clock)

    assert bucket.take() == 0.0
    assert bucket.take() == pytest.approx(10.0)


@pytest.mark.parametrize(
    ("text", "per_second"),
    [("100/s", 100.0), ("600/min", 10.0), (" 3600 / h ", 1.0), ("0.5/s", 0.5)],
)
def test_rates_are_spelt_with_their_unit(text: str, per_second: float) -> None:
    assert Rate.parse(text).per_second == per_second


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("100", "written as 100/s.* Got '100'"),
        ("100/day", "Got '100/day'"),
        ("-1/s", "Got '-1/s'"),
        ("1e9/s", "Got '1e9/s'"),
        ("0/s", "must be positive. Got 0/s"),
    ],
)
def test_other_text_is_refused_with_an_example(text: str, message: str) -> None:
    with pytest.raises(UnreadableRate, match=message):
        Rate.parse(text)


def test_a_rate_prints_as_it_is_spelt() -> None:
    assert str(Rate.parse("100/s")) == "100/s"

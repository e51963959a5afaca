"""Features of amounts from exact whole sums: one division, at the end.

The order of operations is that of ``features.velocity_amounts``, so that both round alike: sums
beyond 2^53 become floats before they are divided.
"""

from collections.abc import Callable, Sequence
from functools import partial
from math import nan, sqrt
from operator import mul
from typing import NamedTuple

from features.aggregates import (
    AMOUNT_MAX,
    AMOUNT_MEAN,
    AMOUNT_MEAN_RATIO,
    AMOUNT_MIN,
    AMOUNT_STD,
    AMOUNT_SUM,
    AMOUNT_TO_MEAN,
)
from features.online.events import Event
from features.online.long_parts import LONG, exact_squares, exact_sum, known_amounts
from features.online.past import MISSING, stored_amount


class AmountSums(NamedTuple):
    """Exact sums over the amounts of one window, in minor units."""

    n: int
    total: int
    squares: int
    largest: int
    smallest: int


NO_AMOUNTS = AmountSums(0, 0, 0, 0, 0)

OfAmounts = Callable[[Sequence[AmountSums], Event], float]
"""Gives a feature's value from the sums of each window and the row's own event."""


def sums_of(part: Sequence[int], *, has_squares: bool, has_extremes: bool) -> AmountSums:
    """Return the sums over some stored amounts.

    Args:
        part: Minor units, ``MISSING`` where none counts.
        has_squares: Whether the sum of squares is wanted; otherwise it is 0.
        has_extremes: Whether the largest and the smallest are wanted; otherwise they are 0.
    """
    if len(part) > LONG:
        return long_sums(part, has_squares=has_squares)
    if MISSING in part:
        part = [amount for amount in part if amount != MISSING]
    if not part:
        return NO_AMOUNTS
    squares = sum(map(mul, part, part)) if has_squares else 0
    largest, smallest = (max(part), min(part)) if has_extremes else (0, 0)
    return AmountSums(len(part), sum(part), squares, largest, smallest)


def joined(some: AmountSums, others: AmountSums) -> AmountSums:
    """Return the sums over both."""
    if not some.n or not others.n:
        return some if some.n else others
    return AmountSums(
        some.n + others.n,
        some.total + others.total,
        some.squares + others.squares,
        max(some.largest, others.largest),
        min(some.smallest, others.smallest),
    )


def long_sums(part: Sequence[int], *, has_squares: bool) -> AmountSums:
    """Return what :func:`sums_of` returns, by arrays."""
    amounts = known_amounts(part)
    if not amounts.size:
        return NO_AMOUNTS
    squares = exact_squares(amounts) if has_squares else 0
    largest, smallest = int(amounts.max()), int(amounts.min())
    return AmountSums(amounts.size, exact_sum(amounts), squares, largest, smallest)


def amount_feature(aggregate: str, window: int, longer: int, per_major: int) -> OfAmounts:
    """Return how a feature follows from the sums of all windows, in major units.

    Args:
        aggregate: One of the ``amount_`` aggregates.
        window: Position of the feature's window.
        longer: Position of the longer window, where the aggregate has one.
        per_major: Minor units in one major unit.
    """
    if aggregate == AMOUNT_MEAN_RATIO:
        return partial(_mean_ratio, window, longer)
    if aggregate == AMOUNT_TO_MEAN:
        return partial(_to_mean, window)
    return partial(_OF_ONE_WINDOW[aggregate], window, per_major)


def _sum(window: int, per_major: int, sums: Sequence[AmountSums], _: Event) -> float:
    return float(sums[window].total) / per_major


def _mean(window: int, per_major: int, sums: Sequence[AmountSums], _: Event) -> float:
    of = sums[window]
    return float(of.total) / (of.n * per_major) if of.n else nan


def _max(window: int, per_major: int, sums: Sequence[AmountSums], _: Event) -> float:
    of = sums[window]
    return of.largest / per_major if of.n else nan


def _min(window: int, per_major: int, sums: Sequence[AmountSums], _: Event) -> float:
    of = sums[window]
    return of.smallest / per_major if of.n else nan


def _std(window: int, per_major: int, sums: Sequence[AmountSums], _: Event) -> float:
    of = sums[window]
    if of.n < 2:
        return nan
    spread = of.n * of.squares - of.total * of.total
    return sqrt(float(spread) / (of.n * (of.n - 1))) / per_major


def _to_mean(window: int, sums: Sequence[AmountSums], event: Event) -> float:
    of = sums[window]
    amount = stored_amount(event.amount_minor)
    return float(amount) * of.n / of.total if of.total and amount != MISSING else nan


def _mean_ratio(window: int, longer: int, sums: Sequence[AmountSums], _: Event) -> float:
    short, long = sums[window], sums[longer]
    if not short.n or not long.total:
        return nan
    return float(short.total) * long.n / (float(long.total) * short.n)


_OF_ONE_WINDOW = {
    AMOUNT_SUM: _sum,
    AMOUNT_MEAN: _mean,
    AMOUNT_MAX: _max,
    AMOUNT_MIN: _min,
    AMOUNT_STD: _std,
}

"""Features of amounts from exact whole sums: one division, at the end.

The order of operations is that of ``features.velocity_amounts``, so that both round alike: sums
beyond 2^53 become floats before they are divided.
"""

from collections.abc import Callable, Sequence
from functools import partial
from math import nan, sqrt
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
from features.online.past import MISSING, stored_amount


class AmountSums(NamedTuple):
    """Exact sums over the amounts of one window, in minor units."""

    n: int
    total: int
    squares: int
    largest: int
    smallest: int


OfAmounts = Callable[[Sequence[AmountSums], Event], float]
"""Gives a feature's value from the sums of each window and the row's own event."""


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

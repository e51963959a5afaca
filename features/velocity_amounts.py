"""Aggregates of amounts over one block of entities: exact sums, and one division at the end."""

from collections.abc import Sequence
from datetime import timedelta
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from features.aggregates import AMOUNT_MAX, AMOUNT_MIN, VelocityFeature
from features.windows import (
    FloatArray,
    IntArray,
    RunningTotal,
    SlidingSpread,
    TrailingWindows,
    sliding_maxima,
)

_SMALLEST = int(np.iinfo(np.int64).min)


class AmountMeasures:
    """Aggregates of amounts, for each event of a block.

    Args:
        amounts: Minor units of each event; 0 where none counts.
        has_amount: Whether an amount counts.
        windows: Of the same events.
        minor_per_major: Minor units in one unit of the currency.
        features: The features of the block's entity, whose extremes are found together.
    """

    def __init__(
        self,
        amounts: IntArray,
        has_amount: NDArray[np.bool_],
        windows: TrailingWindows,
        *,
        minor_per_major: int,
        features: Sequence[VelocityFeature],
    ) -> None:
        self._amounts = amounts
        self._has_amount = has_amount
        self._windows = windows
        self._minor_per_major = minor_per_major
        self._features = features

    def total(self, feature: VelocityFeature) -> FloatArray:
        """Return the sum; 0 without amounts."""
        return self._totals.of(feature.window) / self._minor_per_major

    def mean(self, feature: VelocityFeature) -> FloatArray:
        """Return the mean; NaN without amounts."""
        counts = self._counts(feature.window) * self._minor_per_major
        return quotient(self._totals.of(feature.window), counts)

    def largest(self, feature: VelocityFeature) -> FloatArray:
        """Return the largest amount; NaN without amounts."""
        return self._extreme(self._maxima[feature.window], feature)

    def smallest(self, feature: VelocityFeature) -> FloatArray:
        """Return the smallest amount; NaN without amounts."""
        return self._extreme(-self._negated_minima[feature.window], feature)

    def deviation(self, feature: VelocityFeature) -> FloatArray:
        """Return the sample standard deviation; NaN below two amounts."""
        counts, totals = self._counts(feature.window), self._totals.of(feature.window)
        spread = self._spread.of(feature.window, counts, totals)
        variance = quotient(spread, counts * (counts - 1))
        return np.sqrt(variance) / self._minor_per_major

    def to_mean(self, feature: VelocityFeature) -> FloatArray:
        """Return the row's own amount in units of the mean; NaN without either, or by zero."""
        own = self._amounts.astype(np.float64)
        own[~self._has_amount] = np.nan
        own *= self._counts(feature.window)
        return quotient(own, self._totals.of(feature.window))

    def mean_ratio(self, feature: VelocityFeature) -> FloatArray:
        """Return the mean in units of the longer window's mean; NaN without either, or by zero."""
        assert feature.longer is not None
        short, long = feature.window, feature.longer
        above = self._totals.of(short).astype(np.float64) * self._counts(long)
        below = self._totals.of(long).astype(np.float64) * self._counts(short)
        return quotient(above, below)

    def _counts(self, window: timedelta) -> IntArray:
        if self._all_have_one:
            return self._windows.count(window)
        return self._amount_counts.of(window)

    def _extreme(self, extremes: IntArray, feature: VelocityFeature) -> FloatArray:
        found = extremes / self._minor_per_major
        found[self._counts(feature.window) == 0] = np.nan
        return found

    def _lengths(self, aggregate: str) -> list[timedelta]:
        return [each.window for each in self._features if each.aggregate == aggregate]

    @cached_property
    def _all_have_one(self) -> bool:
        return bool(self._has_amount.all())

    @cached_property
    def _amount_counts(self) -> RunningTotal:
        return RunningTotal(self._has_amount, self._windows)

    @cached_property
    def _totals(self) -> RunningTotal:
        return RunningTotal(self._amounts, self._windows)

    @cached_property
    def _spread(self) -> SlidingSpread:
        return SlidingSpread(self._amounts, self._windows)

    @cached_property
    def _maxima(self) -> dict[timedelta, IntArray]:
        values = np.where(self._has_amount, self._amounts, _SMALLEST)
        return sliding_maxima(values, self._windows, self._lengths(AMOUNT_MAX), empty=_SMALLEST)

    @cached_property
    def _negated_minima(self) -> dict[timedelta, IntArray]:
        values = np.where(self._has_amount, -self._amounts, _SMALLEST)
        return sliding_maxima(values, self._windows, self._lengths(AMOUNT_MIN), empty=_SMALLEST)


def quotient(above: NDArray[np.generic], below: NDArray[np.generic]) -> FloatArray:
    """Return ``above / below``; NaN where ``below`` is 0.

    Shape:
        ``(n,)`` and ``(n,)`` -> ``(n,)``
    """
    found = np.full(below.shape, np.nan)
    np.divide(above, below, out=found, where=below != 0)
    return found

"""Every aggregate over one block of entities, from positions in its timeline."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import cached_property

import numpy as np

from features.aggregates import (
    AMOUNT_MAX,
    AMOUNT_MEAN,
    AMOUNT_MEAN_RATIO,
    AMOUNT_MIN,
    AMOUNT_STD,
    AMOUNT_SUM,
    AMOUNT_TO_MEAN,
    COUNT,
    COUNT_RATIO,
    DISTINCT,
    SECONDS_SINCE_LAST,
    SHARE,
    LabelRateFeature,
    VelocityFeature,
)
from features.contract_blocks import Names
from features.durations import microseconds
from features.label_rate import LabelEvents
from features.velocity_amounts import AmountMeasures, quotient
from features.velocity_events import NO_CODE, EntityBlock, TableEvents
from features.windows import (
    DistinctValues,
    FloatArray,
    IntArray,
    RunningTotal,
    TrailingWindows,
)

_MICROSECONDS_PER_SECOND = 1_000_000


class BlockMeasures:
    """The features of one entity or pair, for each event of a block.

    Args:
        block: The events, sorted.
        events: The table that they come from.
        entity: The columns of the entity.
    """

    def __init__(self, block: EntityBlock, events: TableEvents, entity: Names) -> None:
        self._block = block
        self._events = events
        self._features = [each for each in events.plan.features if each.entity == entity]
        self._windows = TrailingWindows(block.timeline)
        self._distinct: dict[str, DistinctValues] = {}
        self._counted_labels: dict[timedelta, tuple[IntArray, IntArray]] = {}

    def values(self, feature: VelocityFeature | LabelRateFeature) -> FloatArray:
        """Return a feature of each event's row; NaN where null.

        Shape:
            ``(n,)``, in the order of the block
        """
        if isinstance(feature, LabelRateFeature):
            known, positive = self._label_counts(feature.window)
            return quotient(positive, known) if feature.kind == "rate" else known.astype(float)
        return _BY_AGGREGATE[feature.aggregate](self, feature)

    def count(self, feature: VelocityFeature) -> FloatArray:
        """Return the number of events."""
        return self._windows.count(feature.window).astype(np.float64)

    def count_ratio(self, feature: VelocityFeature) -> FloatArray:
        """Return the rate of events in units of the longer window's rate; NaN without events."""
        assert feature.longer is not None
        above = self.count(feature) * microseconds(feature.longer)
        below = self._windows.count(feature.longer).astype(np.float64)
        return quotient(above, below * microseconds(feature.window))

    def seconds_since_last(self, feature: VelocityFeature) -> FloatArray:
        """Return the seconds since the last event; NaN beyond the window."""
        elapsed = self._block.timeline.elapsed(microseconds(feature.window))
        return elapsed / _MICROSECONDS_PER_SECOND

    def distinct(self, feature: VelocityFeature) -> FloatArray:
        """Return the number of different values."""
        assert feature.column is not None
        if feature.column not in self._distinct:
            self._distinct[feature.column] = DistinctValues(
                self._codes(feature.column), self._block.entities, self._windows
            )
        return self._distinct[feature.column].of(feature.window).astype(np.float64)

    def share(self, feature: VelocityFeature) -> FloatArray:
        """Return the share of a value among the known values; NaN without any."""
        assert feature.column is not None
        assert feature.value is not None
        is_known = self._codes(feature.column) != NO_CODE
        is_value = self._events.holds(feature.column, feature.value)[self._block.rows]
        known, found = (RunningTotal(each, self._windows) for each in (is_known, is_value))
        return quotient(found.of(feature.window), known.of(feature.window))

    @cached_property
    def amounts(self) -> AmountMeasures:
        """The aggregates of amounts."""
        return AmountMeasures(
            self._events.amounts[self._block.rows],
            self._events.has_amount[self._block.rows],
            self._windows,
            minor_per_major=self._events.minor_per_major,
            features=[each for each in self._features if isinstance(each, VelocityFeature)],
        )

    @cached_property
    def _labels(self) -> LabelEvents:
        assert self._events.labels is not None
        return self._events.labels.at(self._block.rows)

    def _label_counts(self, window: timedelta) -> tuple[IntArray, IntArray]:
        if window not in self._counted_labels:
            self._counted_labels[window] = self._labels.counts(
                self._block.timeline, microseconds(window)
            )
        return self._counted_labels[window]

    def _codes(self, column: str) -> IntArray:
        return self._events.codes(column)[self._block.rows]


_BY_AGGREGATE: Mapping[str, Callable[[BlockMeasures, VelocityFeature], FloatArray]] = {
    COUNT: BlockMeasures.count,
    COUNT_RATIO: BlockMeasures.count_ratio,
    SECONDS_SINCE_LAST: BlockMeasures.seconds_since_last,
    DISTINCT: BlockMeasures.distinct,
    SHARE: BlockMeasures.share,
    AMOUNT_SUM: lambda measures, feature: measures.amounts.total(feature),
    AMOUNT_MEAN: lambda measures, feature: measures.amounts.mean(feature),
    AMOUNT_MAX: lambda measures, feature: measures.amounts.largest(feature),
    AMOUNT_MIN: lambda measures, feature: measures.amounts.smallest(feature),
    AMOUNT_STD: lambda measures, feature: measures.amounts.deviation(feature),
    AMOUNT_TO_MEAN: lambda measures, feature: measures.amounts.to_mean(feature),
    AMOUNT_MEAN_RATIO: lambda measures, feature: measures.amounts.mean_ratio(feature),
}

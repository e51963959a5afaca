"""The evaluator: features over time of one incoming row, from its event and its past.

Compiled once from the same plan that the offline tables are computed from. Counts and sums are
whole numbers and equal the offline ones exactly; what is divided equals them to 1e-12.
"""

from bisect import bisect_left
from collections.abc import Iterator
from math import nan

from features.aggregates import (
    AMOUNT_MAX,
    AMOUNT_MIN,
    AMOUNT_STD,
    COUNT,
    COUNT_RATIO,
    DISTINCT,
    SECONDS_SINCE_LAST,
    SHARE,
    LabelRateFeature,
    VelocityFeature,
)
from features.durations import microseconds
from features.money import minor_units_per_major
from features.online.amount_sums import amount_feature
from features.online.events import Event
from features.online.measures import (
    AmountMeasure,
    CountMeasure,
    DistinctMeasure,
    LabelMeasure,
    Measure,
    ShareMeasure,
    SinceLastMeasure,
    View,
)
from features.online.past import EntityPast, Past, entity_layouts, value_code
from features.velocity import VelocityPlan

_Placed = tuple[tuple[int, VelocityFeature], ...]


class VelocityEvaluator:
    """Evaluates every feature over time of a plan for one row.

    Args:
        plan: Compiled from the contract (:func:`features.velocity.velocity_plan`).
    """

    def __init__(self, plan: VelocityPlan) -> None:
        self.names = plan.names
        self._blank = [nan] * len(plan.features)
        self._entities = tuple(_EntityEvaluator(plan, at) for at in range(len(plan.entities)))

    def evaluate(self, event: Event, past: Past) -> list[float]:
        """Return the features of a row in the plan's order, NaN where null.

        Args:
            event: The row's own event, which need not be stored.
            past: What :meth:`OnlineState.past` returned for it; events at or after the row's
                moment are ignored.
        """
        out = self._blank.copy()
        for entity, its_past in zip(self._entities, past, strict=True):
            if its_past is not None:
                entity.fill(out, event, its_past)
        return out

    def without_past(self) -> list[float]:
        """Return what stands for the features where the past is not to be had: all null."""
        return self._blank.copy()


class _EntityEvaluator:
    """The features of one entity or pair."""

    def __init__(self, plan: VelocityPlan, at: int) -> None:
        entity = plan.entities[at]
        placed = tuple((n, each) for n, each in enumerate(plan.features) if each.entity == entity)
        velocity = tuple((n, e) for n, e in placed if isinstance(e, VelocityFeature))
        labels = tuple((n, e) for n, e in placed if isinstance(e, LabelRateFeature))
        lengths = {microseconds(each.window) for _, each in velocity}
        lengths |= {microseconds(each.longer) for _, each in velocity if each.longer is not None}
        self._lengths = tuple(sorted(lengths))
        self._measures = tuple(_measures(plan, at, velocity, self._lengths))
        self._label_lengths = tuple(sorted({microseconds(each.window) for _, each in labels}))
        self._delay = microseconds(plan.label.delay)
        self._label_measure = _label_measure(plan, labels, self._label_lengths)

    def fill(self, out: list[float], event: Event, past: EntityPast) -> None:
        """Put the entity's features at their positions."""
        if self._measures:
            view = _view(event, past, event.event_time, self._lengths)
            for measure in self._measures:
                measure.fill(out, view)
        if self._label_measure is not None:
            view = _view(event, past, event.event_time - self._delay, self._label_lengths)
            self._label_measure.fill(out, view)


def _view(event: Event, past: EntityPast, moment: int, lengths: tuple[int, ...]) -> View:
    """Return the view through windows that end right before a moment."""
    times = past.times
    end = start = bisect_left(times, moment)
    starts = []
    for length in lengths:
        start = bisect_left(times, moment - length, 0, start)
        starts.append(start)
    return View(event, past, end, starts)


def _measures(
    plan: VelocityPlan, at: int, velocity: _Placed, lengths: tuple[int, ...]
) -> Iterator[Measure]:
    window = {length: n for n, length in enumerate(lengths)}
    counts = _plain(velocity, COUNT, window)
    ratios = tuple(
        (n, window[w], window[longer], w, longer)
        for n, each in velocity
        if each.aggregate == COUNT_RATIO and each.longer is not None
        for w, longer in [(microseconds(each.window), microseconds(each.longer))]
    )
    if counts or ratios:
        yield CountMeasure(counts, ratios)
    if since := _plain(velocity, SECONDS_SINCE_LAST, window):
        yield SinceLastMeasure(since)
    if amounts := tuple((n, each) for n, each in velocity if each.needs_amount):
        yield _amount_measure(plan, amounts, window)
    yield from _value_measures(plan, at, velocity, window)


def _plain(
    velocity: _Placed, aggregate: str, window: dict[int, int]
) -> tuple[tuple[int, int], ...]:
    return tuple(
        (n, window[microseconds(each.window)])
        for n, each in velocity
        if each.aggregate == aggregate
    )


def _amount_measure(plan: VelocityPlan, amounts: _Placed, window: dict[int, int]) -> AmountMeasure:
    assert plan.columns.amount is not None
    per_major = minor_units_per_major(plan.columns.amount.currency)
    features = tuple(
        (
            n,
            amount_feature(
                each.aggregate,
                window[microseconds(each.window)],
                window[microseconds(each.longer or each.window)],
                per_major,
            ),
        )
        for n, each in amounts
    )
    aggregates = {each.aggregate for _, each in amounts}
    return AmountMeasure(
        features,
        has_squares=AMOUNT_STD in aggregates,
        has_extremes=not aggregates.isdisjoint({AMOUNT_MAX, AMOUNT_MIN}),
    )


def _value_measures(
    plan: VelocityPlan, at: int, velocity: _Placed, window: dict[int, int]
) -> Iterator[Measure]:
    stored = [plan.value_columns[n] for n in entity_layouts(plan)[at].values]
    looks = dict.fromkeys(
        (each.aggregate, each.column, each.value) for _, each in velocity if each.column is not None
    )
    for aggregate, column, value in looks:
        assert column is not None
        of = tuple(
            (n, each) for n, each in velocity if (each.column, each.value) == (column, value)
        )
        features = _plain(of, aggregate, window)
        if aggregate == DISTINCT:
            yield DistinctMeasure(stored.index(column), features)
        elif aggregate == SHARE:
            yield ShareMeasure(stored.index(column), value_code(value), features)


def _label_measure(
    plan: VelocityPlan, labels: tuple[tuple[int, LabelRateFeature], ...], lengths: tuple[int, ...]
) -> LabelMeasure | None:
    if not labels:
        return None
    of_kind = {
        kind: tuple(
            (n, lengths.index(microseconds(each.window))) for n, each in labels if each.kind == kind
        )
        for kind in ("rate", "count")
    }
    absent_is_negative = plan.label.absent_means == "negative"
    return LabelMeasure(of_kind["rate"], of_kind["count"], absent_is_negative)

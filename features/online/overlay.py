"""Rows of one batch as each other's past, before any of them is applied."""

from bisect import bisect_right
from collections.abc import Sequence

from features.online.events import Event
from features.online.past import (
    MISSING,
    EntityLayout,
    EntityPast,
    Past,
    entity_layouts,
    stored_amount,
    value_code,
)
from features.velocity import VelocityPlan


class BatchOverlay:
    """The earlier rows of a batch, laid over what the state knows.

    Add a row only where it will count: not a repeated id, nor one that the state has
    (:meth:`OnlineState.seen`). For each row in order: ``extend`` its past, evaluate, ``add`` it.
    A label that was reported before its event counts once the event is applied.
    """

    def __init__(self, plan: VelocityPlan) -> None:
        self._layouts = entity_layouts(plan)
        self._rows: dict[str, list[Event]] = {}

    def add(self, event: Event) -> None:
        """Make a row part of the past of the rows that follow."""
        for layout in self._layouts:
            key = layout.key_of(event)
            if key is not None:
                self._rows.setdefault(key, []).append(event)

    def extend(self, event: Event, past: Past) -> Past:
        """Return the past of a row with the rows added so far; ``past`` itself is unchanged."""
        if not self._rows:
            return past
        return tuple(
            [
                self._extended(event, layout, its_past)
                for layout, its_past in zip(self._layouts, past, strict=True)
            ]
        )

    def _extended(
        self, event: Event, layout: EntityLayout, past: EntityPast | None
    ) -> EntityPast | None:
        key = layout.key_of(event)
        rows = self._rows.get(key) if key is not None else None
        return past if past is None or not rows else with_events(past, rows, layout)


def with_events(past: EntityPast, events: Sequence[Event], layout: EntityLayout) -> EntityPast:
    """Return a past with more events, each at its place in time."""
    times, amounts = list(past.times), list(past.amounts)
    values = tuple([list(column) for column in past.values])
    reports = list(past.reports)
    for event in events:
        at = bisect_right(times, event.event_time)
        times.insert(at, event.event_time)
        if layout.amounts:
            amounts.insert(at, stored_amount(event.amount_minor))
        for column, position in zip(values, layout.values, strict=True):
            column.insert(at, value_code(event.values[position]))
        if reports:
            reports.insert(at, MISSING)
    return EntityPast(times, amounts, values, reports)

"""What a row could see when events arrive late: those before it that were there by then.

A served row is scored with the events that the online state held at that moment. An event that
happened before the row but arrived after it was not among them. Most rows miss nothing, and
have the features of event time. The others are computed once more, each from its own list of
the events that it could see, as if it were the only row of an entity of its own.
"""

from collections.abc import Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.contract_blocks import Names
from features.durations import microseconds
from features.ingestion.data_error import DataError
from features.velocity_events import EntityBlock, TableEvents
from features.velocity_measures import BlockMeasures
from features.windows import (
    Axis,
    FloatArray,
    IntArray,
    Timeline,
    TrailingWindows,
    sliding_maxima,
)

# Events that rows see, listed at once: each takes some hundred bytes of working memory.
_LISTED_EVENTS = 1 << 21


def arrival_ranks(frame: pl.DataFrame, column: str, event_time: str) -> IntArray:
    """Return the place of each row in the order of arrival, from 0; ties keep the row order.

    Args:
        frame: Rows.
        column: When each row arrived: a timestamp, naive ones in UTC. A missing one arrived when
            it happened.
        event_time: The column that says when each row happened.

    Shape:
        ``(n,)``

    Raises:
        DataError: If the column is missing, or holds no timestamps.
    """
    if column not in frame.columns:
        raise DataError(f"The table lacks column {column!r}, which says when rows arrived.")
    if not isinstance(frame.schema[column], pl.Datetime):
        raise DataError(
            f"Column {column!r} must hold timestamps that say when rows arrived; "
            f"it holds {frame.schema[column]}."
        )
    utc = pl.Datetime("us", "UTC")
    arrived = frame.select(pl.col(column).cast(utc).fill_null(pl.col(event_time).cast(utc)))
    moments = arrived.to_series().to_physical().fill_null(np.iinfo(np.int64).max).to_numpy()
    order = np.argsort(moments, kind="stable")
    ranks = np.empty(order.size, dtype=np.int64)
    ranks[order] = np.arange(order.size)
    return ranks


def recompute_late(values: dict[str, FloatArray], events: TableEvents, ranks: IntArray) -> int:
    """Put right, in place, the features of rows that an earlier event arrived after.

    Args:
        values: Features by name as event time gives them, one element for each row.
        events: The rows as events.
        ranks: Place of each row in the order of arrival.

    Returns:
        How many rows had missed an event of at least one of their entities.
    """
    is_late = np.zeros(ranks.size, dtype=bool)
    for entity in events.plan.entities:
        for block in events.blocks(entity):
            for rows, seen in _affected(block, events, entity, ranks):
                is_late[rows] = True
                measures = BlockMeasures(seen, events, entity)
                # The row stands last in its own list.
                at = np.flatnonzero(np.diff(seen.entities, append=rows.size))
                for feature in events.plan.features:
                    if feature.entity == entity:
                        values[feature.name][rows] = measures.values(feature)[at]
    return int(is_late.sum())


def _affected(
    block: EntityBlock, events: TableEvents, entity: Names, ranks: IntArray
) -> Iterator[tuple[IntArray, EntityBlock]]:
    """Yield rows that miss an event, and the events that each of them saw, the row itself last."""
    horizon = events.plan.horizon(entity)
    windows = TrailingWindows(block.timeline)
    rank = ranks[block.rows]
    newest = sliding_maxima(rank, windows, [horizon], empty=-1)[horizon]
    affected = np.flatnonzero(newest > rank)
    ends = np.cumsum(windows.count(horizon)[affected] + 1)
    axis = Axis(first=0, stride=microseconds(horizon) + 1)
    for part in _parts(ends, axis.capacity):
        at = affected[part]
        yield block.rows[at], _seen(block, windows.since(horizon)[at], at, rank, axis)


def _parts(ends: IntArray, most: int) -> Iterator[slice]:
    """Yield ranges of rows whose lists together hold about ``_LISTED_EVENTS`` events."""
    start = 0
    while start < ends.size:
        done = int(ends[start - 1]) if start else 0
        stop = int(np.searchsorted(ends, done + _LISTED_EVENTS, side="right"))
        stop = min(max(stop, start + 1), start + most)
        yield slice(start, stop)
        start = stop


def _seen(
    block: EntityBlock, first: IntArray, at: IntArray, rank: IntArray, axis: Axis
) -> EntityBlock:
    """Return the events that some rows saw, each row's as an entity of their own.

    Args:
        block: Events of whole entities.
        first: Position of the first event that each row's windows reach.
        at: Position of each row.
        rank: Place in the order of arrival of every event.
        axis: Long enough for the longest look-back.
    """
    until = block.timeline.until[at]
    sizes = until - first + 1
    row = np.repeat(np.arange(at.size), sizes)
    event = np.arange(row.size) - np.repeat(np.cumsum(sizes) - sizes - first, sizes)
    # Behind the last event before the row stands the row itself, not its siblings.
    event = np.where(event == until[row], at[row], event)
    is_seen = _is_seen(event, at[row], rank)
    row, event = row[is_seen], event[is_seen]
    keys = block.timeline.keys
    elapsed = keys[event] - keys[at[row]] + axis.stride - 1
    return EntityBlock(block.rows[event], row, Timeline.of(axis.keys(row, elapsed)))


def _is_seen(event: IntArray, at: IntArray, rank: IntArray) -> NDArray[np.bool_]:
    is_seen: NDArray[np.bool_] = (rank[event] < rank[at]) | (event == at)
    return is_seen

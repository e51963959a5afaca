"""Features over time for a whole table: every row sees what lay strictly before it.

The table need not be sorted. Moments are compared in UTC, so neither a time zone nor summer time
moves a window. A row without an event time has no features and is nobody's event; so is, for one
entity, a row without that entity.
"""

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import numpy as np
import polars as pl

from features.contract import Contract
from features.contract_blocks import Names
from features.durations import format_duration
from features.label_rate import with_labels
from features.labels import LABEL, LABEL_REPORTED_AT
from features.velocity import VelocityPlan, velocity_plan
from features.velocity_arrival import arrival_ranks, recompute_late
from features.velocity_events import EntityPart, TableEvents
from features.velocity_measures import BlockMeasures
from features.windows import FloatArray
from infra.errors import InputError

logger = logging.getLogger(__name__)

# Each holds the arrays of one block; numpy lets go of the interpreter while it works on them.
_WORKERS = min(os.cpu_count() or 1, 4)


class WindowLongerThanHistory(InputError):
    """Raised when a window could never be full in a table; names the feature and both lengths."""


def add_velocity(
    frame: pl.DataFrame,
    contract: Contract,
    *,
    history: pl.DataFrame | None = None,
    arrival: str | None = None,
) -> pl.DataFrame:
    """Return ``frame`` with every feature over time that the contract declares, Float64.

    Args:
        frame: Conformed rows in any order, with ``label`` and ``label_reported_at`` as
            ``attach_labels`` writes them or with the label's own columns; without both, no label
            is known. Optional columns that it lacks count as missing.
        contract: Resolved against the table.
        history: Earlier rows of the same kind, which are events and get no features.
        arrival: Column that says when a row arrived. Then a row sees the events before it in
            event time that had arrived before it, ties in the order of the rows, history first;
            default: all events before it in event time.

    Raises:
        DataError: If a column is missing that a feature reads, or ``arrival`` holds no times.
        LabelError: If the label is not two known classes.
    """
    plan = velocity_plan(contract)
    if not plan:
        return frame
    kept = () if arrival is None else (arrival,)
    rows = frame if history is None else _with_history(frame, history, contract, plan, kept)
    events = TableEvents.of(rows, contract)
    n_history = rows.height - frame.height
    values = velocity_arrays(events)
    told = {"rows": frame.height, "history": n_history, "out_of_order": events.n_out_of_order}
    if arrival is not None and contract.event_time_column is not None:
        ranks = arrival_ranks(rows, arrival, contract.event_time_column)
        told["missed_an_event"] = recompute_late(values, events, ranks)
    logger.info("velocity computed", extra=told)
    columns = [pl.Series(name, values[name][n_history:]).fill_nan(None) for name in plan.names]
    return frame.with_columns(columns)


def check_history(frame: pl.DataFrame, contract: Contract) -> None:
    """Check that a table spans every window of its contract.

    A shorter one would train on windows that are cut off, and serve whole ones.

    Args:
        frame: Conformed rows.
        contract: Resolved against the table.

    Raises:
        WindowLongerThanHistory: If the table spans less time than a window.
    """
    plan = velocity_plan(contract)
    if not plan or contract.event_time_column is None:
        return
    moments = frame[contract.event_time_column]
    first, last = moments.min(), moments.max()
    if not isinstance(first, datetime) or not isinstance(last, datetime):
        return
    longest = max(plan.features, key=lambda feature: feature.longest_window)
    if longest.longest_window > last - first:
        raise WindowLongerThanHistory(
            f"The window of {longest.name!r} is {format_duration(longest.longest_window)}; the "
            f"table spans {last - first}, from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M}. "
            "Declare a shorter window, or bring more history."
        )


def velocity_arrays(events: TableEvents) -> dict[str, FloatArray]:
    """Return every feature over time of every row by name, NaN where null.

    Shape:
        ``(n,)`` each, in the order of the table
    """
    plan = events.plan
    found = {name: np.full(events.times.size, np.nan) for name in plan.names}

    def fill(entity: Names, part: EntityPart) -> None:
        for block in part.blocks():
            measures = BlockMeasures(block, events, entity)
            for feature in plan.features:
                if feature.entity == entity:
                    found[feature.name][block.rows] = measures.values(feature)

    coded = {*plan.value_columns, *(column for entity in plan.entities for column in entity)}
    with ThreadPoolExecutor(_WORKERS) as pool:
        list(pool.map(events.codes, coded))  # kept there, before several threads ask for them
        parts = ((entity, part) for entity in plan.entities for part in events.parts(entity))
        list(pool.map(lambda task: fill(*task), parts))  # a list, so that errors are raised
    return found


def _with_history(
    frame: pl.DataFrame,
    history: pl.DataFrame,
    contract: Contract,
    plan: VelocityPlan,
    further: Names,
) -> pl.DataFrame:
    """Return history and rows as one table of what features over time read, in this order."""
    wanted = (*plan.source_columns, LABEL, LABEL_REPORTED_AT, *further)
    parts = [
        with_labels(part, contract) if plan.label_features else part for part in (history, frame)
    ]
    kept = [part.select(name for name in wanted if name in part.columns) for part in parts]
    return pl.concat(kept, how="diagonal_relaxed")

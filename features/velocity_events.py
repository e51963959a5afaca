"""A table's rows as events: whole-number columns, and blocks of entities sorted by moment."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.contract import Contract
from features.contract_blocks import Names
from features.durations import microseconds
from features.ingestion.data_error import DataError
from features.label_rate import LabelEvents
from features.money import minor_units_per_major, to_minor_units
from features.velocity import MAX_AMOUNT_MINOR, VelocityPlan, velocity_plan
from features.windows import Axis, IntArray, Timeline

NO_CODE = -1
# Rows worked on at once: memory stays bounded, and cost grows with the rows and no faster.
_BLOCK_ROWS = 1 << 19
_MOST_BLOCKS = 1 << 16


@dataclass(frozen=True, slots=True)
class EntityBlock:
    """All events of some entities, sorted by entity and moment.

    Attributes:
        rows: Number of each event's row in the table.
        entities: Code of each event's entity.
        timeline: Where the events lie in time.

    Shape:
        ``(n,)`` each
    """

    rows: IntArray
    entities: IntArray
    timeline: Timeline


@dataclass(frozen=True, slots=True)
class EntityPart:
    """All events of some entities, in the order of the table.

    Attributes:
        rows: Number of each event's row in the table.
        entities: Code of each event's entity, from 0.
        times: Microseconds since 1970-01-01 UTC.
        axis: Long enough for all of them.

    Shape:
        ``(n,)`` each
    """

    rows: IntArray
    entities: IntArray
    times: IntArray
    axis: Axis

    def sorted(self) -> EntityBlock:
        """Return the events sorted by entity and moment."""
        keys = self.axis.keys(self.entities, self.times)
        order = np.argsort(keys)
        return EntityBlock(self.rows[order], self.entities[order], Timeline.of(keys[order]))


@dataclass(frozen=True)
class TableEvents:
    """What the features over time read of a table. Made by :meth:`of`.

    Attributes:
        frame: The columns as the table has them.
        plan: The features.
        times: Microseconds since 1970-01-01 UTC; 0 where there is none.
        is_timed: Whether a row has an event time.
        amounts: Minor units; 0 where none counts.
        has_amount: Whether an amount counts.
        minor_per_major: Minor units in one unit of the currency.
        labels: Their labels, where a feature reads them.

    Shape:
        ``(n,)`` each
    """

    frame: pl.DataFrame
    plan: VelocityPlan
    times: IntArray
    is_timed: NDArray[np.bool_]
    amounts: IntArray
    has_amount: NDArray[np.bool_]
    minor_per_major: int
    labels: LabelEvents | None
    _codes: dict[str, IntArray] = field(default_factory=dict)

    @classmethod
    def of(cls, frame: pl.DataFrame, contract: Contract) -> "TableEvents":
        """Return the events of conformed rows.

        Args:
            frame: Optional columns that it lacks count as missing.
            contract: Resolved; with features over time.

        Raises:
            DataError: If the frame lacks another column that a feature over time reads.
            LabelError: If the label is not two known classes.
        """
        plan = velocity_plan(contract)
        frame = _with_sources(frame, contract, plan)
        assert contract.event_time_column is not None
        moments = frame[contract.event_time_column].cast(pl.Datetime("us", "UTC")).to_physical()
        amounts = _amounts(frame, contract, plan)
        amount = contract.columns.amount
        return cls(
            frame=frame,
            plan=plan,
            times=moments.fill_null(0).to_numpy(),
            is_timed=moments.is_not_null().to_numpy(),
            amounts=amounts.fill_null(0).to_numpy(),
            has_amount=amounts.is_not_null().to_numpy(),
            minor_per_major=minor_units_per_major(amount.currency) if amount else 1,
            labels=LabelEvents.of(frame, contract) if plan.label_features else None,
        )

    @property
    def n_out_of_order(self) -> int:
        """How many rows stand after a row that happened later."""
        times = self.times[self.is_timed]
        return int((times < np.maximum.accumulate(times)).sum())

    def codes(self, column: str) -> IntArray:
        """Return a number for each value of a column, from 0; ``NO_CODE`` where missing."""
        if column not in self._codes:
            # Categories of its own: those that a process shares are never let go.
            own = pl.Categorical(pl.Categories.random())
            physical = self.frame[column].cast(pl.String).cast(own).to_physical()
            self._codes[column] = physical.cast(pl.Int64).fill_null(NO_CODE).to_numpy()
        return self._codes[column]

    def holds(self, column: str, value: str) -> NDArray[np.bool_]:
        """Return which rows have a value in a column."""
        texts = self.frame[column].cast(pl.String)
        return (texts == value).fill_null(value=False).to_numpy()

    def blocks(self, entity: Names) -> Iterator[EntityBlock]:
        """Yield the events of every entity, block by block; each row is in one block at most."""
        for part in self.parts(entity):
            yield part.sorted()

    def parts(self, entity: Names) -> Iterator[EntityPart]:
        """Yield the rows of every entity, block by block, as yet in the order of the table."""
        codes = self._entity_codes(entity)
        has_entity = codes != NO_CODE
        rows, times = np.flatnonzero(has_entity), self.times
        if not rows.size:
            return
        if rows.size < codes.size:
            times, codes = times[rows], codes[rows]
        axis = Axis.spanning(times, longest=microseconds(self.plan.horizon(entity)))
        for first, at in _partition(codes, axis.capacity):
            yield EntityPart(rows[at], codes[at] - first, times[at], axis)

    def _entity_codes(self, entity: Names) -> IntArray:
        codes = self.codes(entity[0])
        for column in entity[1:]:
            codes = _paired(codes, self.codes(column))
        return codes if self.is_timed.all() else np.where(self.is_timed, codes, NO_CODE)


def _paired(codes: IntArray, others: IntArray) -> IntArray:
    is_missing = (codes == NO_CODE) | (others == NO_CODE)
    pairs = codes * (int(others.max(initial=0)) + 1) + others
    pairs[is_missing] = NO_CODE
    dense: IntArray = np.unique(pairs, return_inverse=True)[1]
    return dense - int(is_missing.any())


def _partition(codes: IntArray, capacity: int) -> Iterator[tuple[int, IntArray | slice]]:
    """Yield the first code of each block and the positions of its rows.

    A block holds consecutive codes: at most ``capacity`` of them, and about ``_BLOCK_ROWS`` rows
    unless one entity alone has more.
    """
    firsts = _first_codes(np.bincount(codes), capacity)
    if len(firsts) == 1:
        yield 0, slice(None)
        return
    block_of_code = np.zeros(firsts[-1] + 1, dtype=np.int64)
    block_of_code[firsts[1:]] = 1
    # Of short integers, which are few blocks, numpy sorts by radix.
    short = np.uint16 if len(firsts) <= _MOST_BLOCKS else np.int64
    blocks = np.cumsum(block_of_code).astype(short)[np.minimum(codes, firsts[-1])]
    order = np.argsort(blocks, kind="stable")
    ends = np.cumsum(np.bincount(blocks))
    for first, start, end in zip(firsts, [0, *ends[:-1]], ends, strict=True):
        yield first, order[start:end]


def _first_codes(sizes: IntArray, capacity: int) -> list[int]:
    """Return the first code of each block, given how many rows each code has."""
    ends = np.cumsum(sizes)
    firsts, code, done = [], 0, 0
    while code < sizes.size:
        firsts.append(code)
        fitting = int(np.searchsorted(ends, done + _BLOCK_ROWS, side="right"))
        code = min(max(fitting, code + 1), code + capacity)
        done = int(ends[min(code, sizes.size) - 1])
    return firsts


def _with_sources(frame: pl.DataFrame, contract: Contract, plan: VelocityPlan) -> pl.DataFrame:
    absent = [name for name in plan.source_columns if name not in frame.columns]
    for name in absent:
        if name not in contract.columns.optional:
            raise DataError(
                f"The table lacks column {name!r}, which features over time read. "
                "Add it, or name it in columns.optional."
            )
    return frame.with_columns(pl.lit(None).alias(name) for name in absent)


def _amounts(frame: pl.DataFrame, contract: Contract, plan: VelocityPlan) -> pl.Series:
    amount = contract.columns.amount
    if amount is None or not plan.needs_amount:
        return pl.Series([None], dtype=pl.Int64).new_from_index(0, frame.height)
    minor = to_minor_units(frame[amount.column].cast(pl.Float64), amount.currency)
    is_counted = minor.is_between(-MAX_AMOUNT_MINOR, MAX_AMOUNT_MINOR)
    return minor.set(~is_counted, None)

"""A table's rows as events: whole-number columns, and blocks of entities sorted by moment."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

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
_BLOCK_ROWS = 1 << 17
_MOST_BLOCKS = 1 << 16
_FIBONACCI = 0x9E3779B97F4A7C15  # 2^64 over the golden ratio: spreads codes evenly (Knuth 6.4)


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
    """All events of some entities, in the order of their moments.

    Attributes:
        rows: Number of each event's row in the table.
        codes: Code of each event's entity, from 0.
        times: Microseconds since 1970-01-01 UTC, of every row of the table.
        axis: Spans their moments.

    Shape:
        ``(n,)``, ``(n,)`` and ``(n_rows,)``
    """

    rows: IntArray
    codes: IntArray
    times: IntArray
    axis: Axis

    def blocks(self) -> Iterator[EntityBlock]:
        """Yield the events sorted by entity and moment, as many entities as the axis holds."""
        order = _stable_order(self.codes)
        rows, codes = self.rows[order], self.codes[order]
        entities = np.zeros(codes.size, dtype=np.int64)
        np.cumsum(codes[1:] != codes[:-1], out=entities[1:])
        n_entities = int(entities[-1]) + 1
        firsts = [*range(0, n_entities, self.axis.capacity), n_entities]
        for start, end in pairwise(np.searchsorted(entities, firsts)):
            own, at = entities[start:end] - entities[start], rows[start:end]
            yield EntityBlock(at, own, Timeline.of(self.axis.keys(own, self.times[at])))


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
    _holds: dict[tuple[str, str], NDArray[np.bool_]] = field(default_factory=dict)

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

    @cached_property
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
        if (column, value) not in self._holds:
            is_value = self.frame[column].cast(pl.String) == value
            self._holds[column, value] = is_value.fill_null(value=False).to_numpy()
        return self._holds[column, value]

    def blocks(self, entity: Names) -> Iterator[EntityBlock]:
        """Yield the events of every entity, block by block; each row is in one block at most."""
        for part in self.parts(entity):
            yield from part.blocks()

    def parts(self, entity: Names) -> Iterator[EntityPart]:
        """Yield the events of every entity, part by part, not yet sorted by entity."""
        rows = self._rows_by_moment
        codes = self._entity_codes(entity)[rows]
        has_entity = codes != NO_CODE
        rows, codes = rows[has_entity], codes[has_entity]
        if not rows.size:
            return
        first, last = int(self.times[rows[0]]), int(self.times[rows[-1]])
        axis = Axis.spanning(first, last, longest=microseconds(self.plan.horizon(entity)))
        for at in _partition(codes):
            yield EntityPart(rows[at], codes[at], self.times, axis)

    @cached_property
    def _rows_by_moment(self) -> IntArray:
        rows = np.flatnonzero(self.is_timed)
        return rows[np.argsort(self.times[rows])] if self.n_out_of_order else rows

    def _entity_codes(self, entity: Names) -> IntArray:
        codes = self.codes(entity[0])
        for column in entity[1:]:
            codes = _paired(codes, self.codes(column))
        return codes


def _paired(codes: IntArray, others: IntArray) -> IntArray:
    pairs = codes * (int(others.max(initial=0)) + 1) + others
    pairs[(codes == NO_CODE) | (others == NO_CODE)] = NO_CODE
    return pairs


def _partition(codes: IntArray) -> Iterator[IntArray]:
    """Yield the positions of each block, ascending; all that have a code are in one block.

    A block holds about ``_BLOCK_ROWS`` of them, unless one code alone has more.
    """
    n_blocks = min(-(-codes.size // _BLOCK_ROWS), _MOST_BLOCKS)
    hashed = (codes.view(np.uint64) * _FIBONACCI) >> 32
    blocks = hashed * n_blocks >> 32
    order = _stable_order(blocks.view(np.int64))
    ends = np.cumsum(np.bincount(blocks.view(np.int64)))
    for start, end in pairwise([0, *ends]):
        if start < end:
            yield order[start:end]


def _stable_order(numbers: IntArray) -> IntArray:
    """Return the order that sorts numbers from 0 and leaves equal ones as they stand.

    Of 16 bits, numpy sorts by radix: many times faster than it compares.
    """
    order = np.argsort(numbers.astype(np.uint16), kind="stable")
    digits = numbers >> 16
    while digits.any():
        order = order[np.argsort(digits.astype(np.uint16)[order], kind="stable")]
        digits >>= 16
    return order


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

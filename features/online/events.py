"""Events: what a row leaves behind for the rows after it, and reports of labels.

An event holds no more than the features over time need: an id, a moment, an amount in whole
minor units, the entities and the values that ``distinct`` and ``share`` look at.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from json.encoder import encode_basestring
from typing import Any

import polars as pl

from features.contract import Contract
from features.durations import microseconds
from features.money import minor_units_per_major
from features.velocity import velocity_plan

MICROSECONDS_PER_SECOND = 1_000_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LARGEST_INT64 = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Event:
    """One row as later rows see it.

    Attributes:
        id: Names the event; an event is applied once, however often it is handed in.
        event_time: Microseconds since 1970-01-01 UTC.
        amount_minor: Whole minor units of the contract's currency; None where missing.
        entities: Text of each of ``contract.columns.entities``; None where missing.
        values: Text of each of ``plan.value_columns``; None where missing.
    """

    id: str
    event_time: int
    amount_minor: int | None
    entities: tuple[str | None, ...]
    values: tuple[str | None, ...]

    @property
    def digest(self) -> bytes:
        """16 bytes that stand for the content: equal for a retry, other for a reused id."""
        # JSON tells null from text and one text from two, whatever signs they hold.
        amount = "null" if self.amount_minor is None else self.amount_minor
        entities, values = json_list(self.entities), json_list(self.values)
        text = f"[{encode_basestring(self.id)},{self.event_time},{amount},{entities},{values}]"
        content = text.encode("utf-8", "surrogatepass")
        return hashlib.blake2b(content, digest_size=16).digest()


@dataclass(frozen=True, slots=True)
class LabelReport:
    """What was found out about one event.

    Attributes:
        id: The event's id; the event may arrive later than its label.
        label: 1 for the positive class, 0 for the other.
        reported_at: When it became known, in microseconds since 1970-01-01 UTC.
    """

    id: str
    label: int
    reported_at: int


class EventReader:
    """Makes events of rows that are typed as ``features.ingestion.conforming`` types them.

    Args:
        contract: Resolved; with features over time.
    """

    def __init__(self, contract: Contract) -> None:
        plan = velocity_plan(contract)
        columns = contract.columns
        self._time = contract.event_time_column
        self._amount = contract.amount_column if plan.needs_amount else None
        self._per_major = minor_units_per_major(columns.amount.currency) if columns.amount else 1
        self._entities = columns.entities
        self._values = plan.value_columns

    def read(self, row: Mapping[str, Any], event_id: str) -> Event | None:
        """Return the row's event; None where it has no event time.

        Args:
            row: Values by column: datetime with a zone, float, text; None or absent where missing.
            event_id: The contract's id, or another name that a retry repeats.
        """
        moment = row.get(self._time) if self._time is not None else None
        if moment is None:
            return None
        amount = row.get(self._amount) if self._amount is not None else None
        return Event(
            event_id,
            microseconds_of(moment),
            None if amount is None else minor_units(amount, self._per_major),
            tuple([row.get(name) for name in self._entities]),
            tuple([row.get(name) for name in self._values]),
        )

    def read_frame(self, frame: pl.DataFrame, ids: pl.Series) -> Iterator[Event | None]:
        """Yield the event of each row of a conformed frame, in order.

        Args:
            frame: Conformed rows.
            ids: One text for each row.
        """
        names = (self._time, self._amount, *self._entities, *self._values)
        present = [name for name in dict.fromkeys(names) if name in frame.columns]
        rows = frame.select(present).iter_rows(named=True)
        for row, event_id in zip(rows, ids, strict=True):
            yield self.read(row, event_id)


def json_list(texts: Sequence[str | None]) -> str:
    """Return texts as a list in JSON; ``json.dumps`` would set up an encoder each time.

    Example:
        >>> json_list(["7", None])
        '["7",null]'
    """
    written = ["null" if text is None else encode_basestring(text) for text in texts]
    return f"[{','.join(written)}]"


def microseconds_of(moment: datetime) -> int:
    """Return a moment with a zone as microseconds since 1970-01-01 UTC, exactly.

    Example:
        >>> microseconds_of(datetime(1970, 1, 2, tzinfo=UTC))
        86400000000
    """
    return microseconds(moment - _EPOCH)


def moment_of(event_time: int) -> datetime:
    """Return microseconds since 1970-01-01 UTC as a moment."""
    return _EPOCH + timedelta(microseconds=event_time)


def minor_units(amount: float, per_major: int) -> int | None:
    """Return an amount in whole minor units, halves to even, as ``to_minor_units`` does.

    Example:
        >>> minor_units(0.125, 100), minor_units(57.16, 100), minor_units(1e30, 100)
        (12, 5716, None)
    """
    minor = amount * per_major
    if not math.isfinite(minor) or abs(minor) > _LARGEST_INT64:
        return None
    return round(minor)

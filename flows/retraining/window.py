"""The rows of a retraining: of one or more tables, those of a window in event time, as one file.

Where features over time are computed, rows from before the window come along, as far as any feature
looks back: the first rows of a window have a past, too.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from features.contract import Contract
from features.contract_blocks import EventTime
from features.ingestion.data_error import DataError, first_line
from features.ingestion.database import without_password
from features.ingestion.tables import fingerprint, scan_table
from features.ingestion.timestamps import to_utc_or_null
from features.served_content import verified_description
from features.served_table import common_description
from features.validation.quarantine import parquet_rows
from features.velocity import velocity_plan
from flows.pipeline import PICKED_FROM, Fingerprints

_ROWS_AT_ONCE = 1 << 18


@dataclass(frozen=True, slots=True)
class Picked:
    """What was picked.

    Attributes:
        rows: Of the window, in the file.
        history: Rows before the window that came along as their past.
        of: In the tables.
        undated: Rows among those picked whose event time is missing or cannot be read: no window
            can tell them, and validation will send them to quarantine.
    """

    rows: int
    history: int
    of: int
    undated: int


def pick_rows(
    sources: Sequence[str],
    contract: Contract,
    out: Path,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Picked:
    """Write the rows of a window to a Parquet file, in the order of the tables.

    The same rows give the same bytes, however much has been added to the tables since.

    Args:
        sources: Paths or URIs of tables with the same columns.
        contract: Says which column is the event time, and how far features look back.
        out: The file.
        since: Rows from then on; None for no bound.
        until: Rows before then; None for no bound.

    Raises:
        DataError: If a table cannot be read, the tables' columns differ, or there is no such row.
        ServedTableMismatch: If served rows were changed, do not fit the contract, or are mixed
            with others.
    """
    served = common_description(
        {without_password(source): verified_description(source, contract) for source in sources}
    )
    tables = {source: scan_table(source) for source in sources}
    rows = _together(tables)
    try:
        moments = _moments(rows, contract.columns.event_time, since, until)
        is_inside = _is_between(moments, since, until)
        if not is_inside.any():
            raise DataError(_nothing(sources, len(is_inside), since, until))
        past = timedelta(0) if served is not None else velocity_plan(contract).longest_horizon
        begin = None if since is None else since - past
        chosen = _is_between(moments, begin, until)
        at = 0
        with parquet_rows(out) as picked:
            for chunk in rows.collect_batches(chunk_size=_ROWS_AT_ONCE, maintain_order=True):
                picked.append(chunk.filter(chosen.slice(at, chunk.height)))
                at += chunk.height
            if served is not None:
                picked.describe(served.metadata)
    except pl.exceptions.PolarsError as error:
        shown = ", ".join(without_password(source) for source in sources)
        raise DataError(f"Cannot read {shown} as one table: {first_line(error)}.") from None
    n_rows = int(is_inside.sum())
    n_undated = 0 if since is None and until is None else moments.null_count()
    return Picked(n_rows, picked.n_rows - n_rows, len(chosen), n_undated)


def picked_from(sources: Sequence[str]) -> Fingerprints:
    """Return what identifies each table that rows are picked from.

    Raises:
        DataError: If one cannot be read.
    """
    return [
        {"role": PICKED_FROM, "path": source, **asdict(fingerprint(source))} for source in sources
    ]


def _together(tables: dict[str, pl.LazyFrame]) -> pl.LazyFrame:
    (first, head), *others = tables.items()
    columns = head.collect_schema().names()
    for source, table in others:
        odd = sorted(set(columns) ^ set(table.collect_schema().names()))
        if odd:
            raise DataError(
                f"{without_password(source)} and {without_password(first)} differ in column(s) "
                f"{', '.join(map(repr, odd[:5]))}. Give tables of the same columns."
            )
    return pl.concat([table.select(columns) for table in tables.values()], how="vertical_relaxed")


def _moments(
    rows: pl.LazyFrame,
    event_time: EventTime | None,
    since: datetime | None,
    until: datetime | None,
) -> pl.Series:
    """Return each row's moment; null where it has none that can be read, or nobody asks for it."""
    if event_time is None or (since is None and until is None):
        n_rows = int(rows.select(pl.len()).collect().item())
        return pl.repeat(None, n_rows, dtype=pl.Datetime("us", "UTC"), eager=True)
    if event_time.column not in rows.collect_schema():
        raise DataError(f"The table has no column {event_time.column!r}, its event time.")
    # All at once: the moments of one table are written in one way.
    return to_utc_or_null(rows.select(event_time.column).collect().to_series(), event_time)


def _is_between(moments: pl.Series, since: datetime | None, until: datetime | None) -> pl.Series:
    """Return whether each moment is in ``[since, until)``; a missing one is."""
    is_inside = pl.repeat(value=True, n=len(moments), eager=True)
    if since is not None:
        is_inside &= moments >= since
    if until is not None:
        is_inside &= moments < until
    return is_inside.fill_null(value=True)


def _nothing(
    sources: Sequence[str], n_rows: int, since: datetime | None, until: datetime | None
) -> str:
    shown = ", ".join(without_password(source) for source in sources)
    bounds = [
        f"{word} {moment:%Y-%m-%d %H:%M}"
        for word, moment in (("from", since), ("before", until))
        if moment is not None
    ]
    return (
        f"None of the {n_rows:,} rows of {shown} lies in the window"
        + (f" ({' and '.join(bounds)})" if bounds else "")
        + ". Widen it, or bring the rows of that time."
    )

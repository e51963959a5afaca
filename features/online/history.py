"""History: a table's rows as the events and label reports that they would have been."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

import polars as pl

from features.contract import Contract
from features.durations import microseconds
from features.ingestion.conforming import conform
from features.ingestion.data_error import DataError
from features.labels import LABEL, LABEL_REPORTED_AT, reported_labels
from features.online.events import Event, EventReader, LabelReport, microseconds_of, moment_of
from features.online.state import LATENESS, Clock, ClockSkewRefused, system_clock
from features.velocity import VelocityPlan, velocity_plan

ROW_ID = "__id"
_REPORT = "__reported"


@dataclass(frozen=True, slots=True)
class HistoryCounts:
    """What became of the rows of a table.

    Attributes:
        read: Rows of the table.
        without_event_time: Left out: nobody's event.
        later: Left out: after the moment that the state is built for.
        too_old: Left out: no feature looks back to them.
        repeated: Left out: their id is that of an earlier row.
        kept: Events.
    """

    read: int
    without_event_time: int
    later: int
    too_old: int
    repeated: int
    kept: int

    def to_json(self) -> dict[str, int]:
        """Return the counts by name."""
        return asdict(self)


@dataclass(frozen=True)
class History:
    """The rows that a state holds at a moment, in time order. Made by :meth:`of`.

    Attributes:
        contract: With features over time.
        frame: Conformed rows with ``__id``; with label features also ``label`` and
            ``label_reported_at``, null where the label had not been reported by ``as_of``.
        as_of: The moment; where none was given, the newest event time.
        counts: What was left out.
    """

    contract: Contract
    frame: pl.DataFrame
    as_of: datetime
    counts: HistoryCounts

    @classmethod
    def of(
        cls,
        table: pl.DataFrame,
        contract: Contract,
        *,
        name: str,
        as_of: datetime | None = None,
        labels: pl.DataFrame | None = None,
        lateness: timedelta = LATENESS,
        clock: Clock = system_clock,
    ) -> "History":
        """Return the history in a table.

        Args:
            table: As read, in any order, with the columns of :func:`history_columns`.
            contract: With features over time; its patterns need not be expanded.
            name: Begins the ids of rows that have none; the same for the same table.
            as_of: Later rows, and labels reported only later, are left out. Default: every row
                and label of the table.
            labels: Labels from another table, where the contract says so; default: read it.
            lateness: How long beyond the longest look-back rows are kept.
            clock: The present moment.

        Raises:
            DataError: If a value does not fit its column, or no row is left.
            LabelError: If the label is not two known classes.
            ClockSkewRefused: If a row lies in the future, further than the contract allows.
        """
        time, plan = contract.event_time_column, velocity_plan(contract)
        assert time is not None
        assert plan
        rows = _with_ids(conform(table, _narrowed(contract, plan)), contract, name)
        timed = rows.filter(pl.col(time).is_not_null())
        if timed.is_empty():
            raise DataError(
                f"None of {rows.height} rows has an event time ({time!r}): there is no history."
            )
        known = timed if as_of is None else timed.filter(pl.col(time) <= as_of)
        if known.is_empty():
            raise DataError(f"All rows lie after --as-of {as_of}. Choose a later moment.")
        newest = known[time].max()
        assert isinstance(newest, datetime)
        _check_not_ahead(known, newest, contract, clock)
        young = known.filter(pl.col(time) >= newest - plan.longest_horizon - lateness)
        in_order = young.sort(time, maintain_order=True)
        frame = in_order.unique(ROW_ID, keep="first", maintain_order=True)
        if plan.label_features:
            frame = _with_labels(frame, contract, as_of or moment_of(clock()), labels)
        counts = HistoryCounts(
            read=table.height,
            without_event_time=rows.height - timed.height,
            later=timed.height - known.height,
            too_old=known.height - young.height,
            repeated=in_order.height - frame.height,
            kept=frame.height,
        )
        return cls(contract, frame, as_of or newest, counts)

    @property
    def newest(self) -> datetime:
        """The newest event time."""
        found = self.frame[str(self.contract.event_time_column)][-1]
        assert isinstance(found, datetime)
        return found

    def events(self, start: int, stop: int) -> list[Event]:
        """Return the events of the rows from ``start`` to ``stop``, in time order."""
        rows = self.frame[start:stop]
        found = EventReader(self.contract).read_frame(rows, rows[ROW_ID])
        return [event for event in found if event is not None]

    def reports(self, start: int, stop: int) -> list[LabelReport]:
        """Return the reports on the labels of these rows, where they say anything.

        A negative that nobody reported says what its absence does, where the contract has
        ``absent_means = "negative"``: it is left out.
        """
        if _REPORT not in self.frame.columns:
            return []
        rows = self.frame[start:stop].drop_nulls(LABEL)
        if self.contract.label.absent_means == "negative":
            was_reported = (
                pl.col(LABEL_REPORTED_AT).is_not_null()
                if LABEL_REPORTED_AT in rows.columns
                else pl.lit(value=False)
            )
            rows = rows.filter((pl.col(LABEL) == 1) | was_reported)
        return [LabelReport(*row) for row in rows.select(ROW_ID, LABEL, _REPORT).iter_rows()]


def history_columns(table_columns: Sequence[str], contract: Contract) -> list[str]:
    """Return the columns that a history needs, without optional ones that the table lacks."""
    plan, label = velocity_plan(contract), contract.label
    names = [contract.columns.id, *plan.source_columns, *contract.columns.entities]
    if plan.label_features and label.source is None:
        names += [label.column, label.reported_at]
    elif plan.label_features:
        names += [label.key]
    wanted = dict.fromkeys(name for name in names if name is not None)
    optional = contract.columns.optional
    return [name for name in wanted if name in table_columns or name not in optional]


def _narrowed(contract: Contract, plan: VelocityPlan) -> Contract:
    """Return the contract without the columns that no event holds."""
    columns = contract.columns
    categorical = tuple(
        name for name in plan.value_columns if name not in (*columns.entities, columns.id)
    )
    amount = columns.amount if plan.needs_amount else None
    only = {"numeric": (), "categorical": categorical, "amount": amount}
    return contract.model_copy(
        update={"columns": columns.model_copy(update=only), "derived": {}, "velocity": ()}
    )


def _with_ids(rows: pl.DataFrame, contract: Contract, name: str) -> pl.DataFrame:
    numbered = pl.format(f"{name}:{{}}", pl.int_range(pl.len()))
    own = contract.columns.id
    ids = numbered if own is None else pl.coalesce(pl.col(own), numbered)
    return rows.with_columns(ids.alias(ROW_ID))


def _check_not_ahead(
    rows: pl.DataFrame, newest: datetime, contract: Contract, clock: Clock
) -> None:
    limit = moment_of(clock()) + contract.policy.max_clock_skew
    if newest > limit:
        n_ahead = rows.filter(pl.col(str(contract.event_time_column)) > limit).height
        raise ClockSkewRefused(
            f"{n_ahead} row(s) lie in the future, the newest at {newest:%Y-%m-%d %H:%M} UTC. "
            f"Correct them, or leave them out: --as-of {limit:%Y-%m-%d}."
        )


def _with_labels(
    rows: pl.DataFrame, contract: Contract, moment: datetime, labels: pl.DataFrame | None
) -> pl.DataFrame:
    """Return rows with the labels reported by a moment, and when they were (``_REPORT``).

    A report that came before the label delay was over is one, too: nobody hands it in again, and
    features look at it once the delay is over.
    """
    labelled = reported_labels(rows, contract, labels=labels, as_of=moment)
    times = labelled[str(contract.event_time_column)].to_physical()
    reported = times + microseconds(contract.label.delay)
    if LABEL_REPORTED_AT in labelled.columns:
        own = labelled[LABEL_REPORTED_AT].dt.cast_time_unit("us").to_physical()
        reported = own.zip_with(own.is_not_null(), reported)
    is_unseen = reported > microseconds_of(moment)
    return labelled.with_columns(labelled[LABEL].set(is_unseen, None), reported.alias(_REPORT))

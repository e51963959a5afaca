"""Labels from a file: what became of rows that were scored, for alerts and for online state."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import polars as pl

from features.contract import Contract
from features.contract_blocks import EventTime
from features.ingestion.conforming import as_text
from features.ingestion.data_error import DataError
from features.ingestion.tables import read_table
from features.ingestion.timestamps import MOMENT, to_utc
from features.label_values import label_text
from features.online.events import microseconds_of
from features.online.opening import open_state
from features.online.state import OnlineState
from infra.settings import Settings
from serving.decisions.sealing import read_log_secret
from serving.label_requests import LONGEST_SOURCE
from serving.model_store import ModelStore
from serving.outcomes import Feed, OutcomeBook
from serving.reported_labels import ReportedLabel, TakenLabels

_AT_ONCE = 5_000
_NO_ID, _NO_LABEL = "no id", "no label"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A row of a file that reports nothing.

    Attributes:
        row: Its place in the file, from 1; a heading is no row.
        why: What it lacks.
    """

    row: int
    why: str


@dataclass(frozen=True, slots=True)
class LabelTable:
    """The reports in a table.

    Attributes:
        reports: ``id`` (String), ``label`` (Int8), ``reported_at`` (UTC), ``source`` (String, null
            where nobody is named), ``is_dated`` (Boolean: whether the row says when).
        left_out: The other rows, in order.
    """

    reports: pl.DataFrame
    left_out: tuple[LeftOut, ...]


@dataclass(frozen=True, slots=True)
class ImportedLabels:
    """What became of a file of labels.

    Attributes:
        name: The model whose rows they are of.
        read: Rows of the file.
        left_out: Rows without an id or a label.
        accepted: They changed what is recorded.
        duplicates: The same report, or one that counts more, was recorded before.
        unknown: No event of that id is known; kept for when it arrives.
        contradictory: Of the last three, those that say another label than a report of the very
            same moment does; the positive one counts.
        state: The online state that took them; None where no feature of the model looks back.
    """

    name: str
    read: int
    left_out: tuple[LeftOut, ...]
    accepted: int
    duplicates: int
    unknown: int
    contradictory: int
    state: str | None

    @property
    def all_are_unknown(self) -> bool:
        """Whether the state has seen none of the rows, as where it is another than a service's."""
        return self.unknown > 0 and self.accepted + self.duplicates == 0

    def to_json(self) -> dict[str, Any]:
        """Return it as one JSON object; the rows left out counted, and listed."""
        return asdict(self) | listed(self.left_out)


def import_labels(settings: Settings, source: str, reference: str) -> ImportedLabels:
    """Take the labels of a table as the service takes those of a request.

    They reach the features over time that look back at them, where the model has such, and are
    outcomes: they close alerts.

    Columns are named as the contract names id, label and ``reported_at``, or as the service
    does: ``id``, ``label`` (0 or 1), ``reported_at``; ``source`` is kept where it is there. A row
    that does not say when its label became known, became known now, unless that label was known.

    Raises:
        DataError: If a column is missing or holds something else.
        InputError: If a report lies in the future.
        LogSecretUnusable: If the secret that hides personal ids cannot be read.
        StateUnreachable: If the state does not answer; what was taken before stays.
    """
    store = ModelStore.open(settings)
    resolved = store.resolve(reference)
    contract = store.bundle(resolved.name, resolved.model_version).contract
    table, now = read_table(source), datetime.now(UTC)
    labels_of_table = label_reports(table, contract, arrived=now)
    secret, book = read_log_secret(settings.keys, settings.log_secret), OutcomeBook(settings.root)
    taken: list[TakenLabels] = []
    with _opened_state(settings, contract) as state:
        location = None if state is None else state.location
        feed: Feed = (lambda _: None) if state is None else state.report_labels
        for part in labels_of_table.reports.iter_slices(_AT_ONCE):
            labels = _labels_of(part)
            taken.append(book.take(contract, secret, labels, feed=feed, now=microseconds_of(now)))
    return ImportedLabels(
        name=resolved.name,
        read=table.height,
        left_out=labels_of_table.left_out,
        accepted=sum(each.accepted for each in taken),
        duplicates=sum(each.duplicates for each in taken),
        unknown=sum(each.unknown for each in taken),
        contradictory=sum(each.contradictory for each in taken),
        state=location,
    )


def label_reports(table: pl.DataFrame, contract: Contract, *, arrived: datetime) -> LabelTable:
    """Return the reports of a table, and which of its rows are none.

    Args:
        table: As read; see :func:`import_labels` for its columns.
        contract: Of the model.
        arrived: When labels became known that do not say so.

    Raises:
        DataError: If a column is missing or holds something else.
    """
    label = _column(table, contract.label.column, "label")
    said = _moments(table, contract)
    rows = pl.DataFrame(
        {
            "id": as_text(_column(table, contract.columns.id, "id")),
            "label": _classes(label, contract),
            "reported_at": said.fill_null(arrived),
            "source": _sources(table, contract),
            "is_dated": said.is_not_null(),
        }
    )
    lacking = rows.with_row_index("row", offset=1).filter(
        pl.col("id").is_null() | pl.col("label").is_null()
    )
    left_out = tuple(
        LeftOut(row, _NO_ID if row_id is None else _NO_LABEL)
        for row, row_id in lacking.select("row", "id").iter_rows()
    )
    return LabelTable(rows.drop_nulls(["id", "label"]), left_out)


def listed(left_out: Sequence[LeftOut]) -> dict[str, Any]:
    """Return rows that were left out as JSON says them: how many, and which."""
    return {"left_out": len(left_out), "left_out_rows": [asdict(each) for each in left_out]}


@contextmanager
def _opened_state(settings: Settings, contract: Contract) -> Iterator[OnlineState | None]:
    """Yield a model's online state; None where no feature looks back in time."""
    if not contract.velocity_features:
        yield None
        return
    state = open_state(contract, settings.state_uri, folder=settings.state_folder)
    try:
        yield state
    finally:
        state.close()


def _labels_of(part: pl.DataFrame) -> list[ReportedLabel]:
    return [
        ReportedLabel(row_id, label, microseconds_of(moment), source, is_dated=is_dated)
        for row_id, label, moment, source, is_dated in part.iter_rows()
    ]


def _column(table: pl.DataFrame, name: str | None, plain: str) -> pl.Series:
    wanted = [each for each in (name, plain) if each is not None]
    for each in wanted:
        if each in table.columns:
            return table[each]
    raise DataError(
        f"The labels have no column {' or '.join(map(repr, dict.fromkeys(wanted)))}; "
        f"there are {', '.join(map(repr, table.columns[:5]))}. Rename one."
    )


def _classes(column: pl.Series, contract: Contract) -> pl.Series:
    values = label_text(column)
    if column.name == contract.label.column:
        positive = label_text(pl.Series([contract.label.positive], strict=False)).first()
        return (values == positive).cast(pl.Int8)
    others = values.drop_nulls().filter(~values.drop_nulls().is_in(["0", "1"]))
    if others.len():
        raise DataError(
            f"Column {column.name!r} must hold 1 for the positive class, or 0. Got "
            f"{others.first()!r} ({others.len()} such rows). Or name it "
            f"{contract.label.column!r}, with the contract's own values."
        )
    return values.cast(pl.Int8)


def _moments(table: pl.DataFrame, contract: Contract) -> pl.Series:
    """Return when each row's label became known; null where it does not say so."""
    names = [name for name in (contract.label.reported_at, "reported_at") if name in table.columns]
    if not names:
        return pl.Series([None], dtype=MOMENT).new_from_index(0, table.height)
    event_time = contract.columns.event_time
    zone = event_time.time_zone if event_time is not None else "UTC"
    return to_utc(table[str(names[0])], EventTime(column=str(names[0]), time_zone=zone))


def _sources(table: pl.DataFrame, contract: Contract) -> pl.Series:
    """Return who reported each row; null where nobody is named, or the column is the contract's."""
    if "source" not in table.columns or "source" in contract.source_columns:
        return pl.Series([None], dtype=pl.String).new_from_index(0, table.height)
    named = as_text(table["source"]).str.strip_chars().str.head(LONGEST_SOURCE)
    return named.set(named == "", None)

"""Labels as they were known at a moment: what had been reported by then, and nothing later.

A row whose label delay has not passed has no label yet, whatever its table says today; it is
left out and never counted as negative. What a missing label means once the delay has passed
is the contract's ``absent_means``.
"""

import logging
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from features.contract import Contract
from features.contract_blocks import EventTime
from features.durations import microseconds
from features.ingestion.data_error import DataError
from features.ingestion.tables import read_table
from features.ingestion.timestamps import to_utc
from features.ingestion.typed_text import without_missing

logger = logging.getLogger(__name__)

LABEL = "label"
LABEL_REPORTED_AT = "label_reported_at"
_SHOWN_VALUES = 5


class LabelError(DataError):
    """Raised when a label is not two known classes; says what was counted."""


@dataclass(frozen=True, slots=True)
class LabelledFrame:
    """A table with what was known about its rows at one moment.

    Attributes:
        frame: Every row, in order, with an Int8 column ``label``: 1, 0, or null where no label
            is known. Rows without a label stay: they are part of other rows' past. Where the
            contract has ``reported_at``, ``label_reported_at`` is that moment in UTC.
        n_unlabelled: Rows old enough to have a label that have none.
        n_immature: Rows whose label was not known yet at ``as_of``.
        as_of: The moment, in UTC; None where rows carry no time and none was given.
    """

    frame: pl.DataFrame
    n_unlabelled: int
    n_immature: int
    as_of: datetime | None

    @property
    def known(self) -> pl.DataFrame:
        """The rows whose label is known, in order."""
        return self.frame.filter(pl.col(LABEL).is_not_null())


def attach_labels(
    frame: pl.DataFrame,
    contract: Contract,
    *,
    as_of: datetime | None = None,
    labels: pl.DataFrame | None = None,
    both_classes: bool = True,
) -> LabelledFrame:
    """Return ``frame`` with the labels known at ``as_of``.

    Args:
        frame: A conformed table.
        contract: Resolved against the table.
        as_of: Default: the newest event time; without event times, everything is known.
            A naive moment is read as UTC.
        labels: The other table, where ``label.source`` names one; default: read from there.
        both_classes: Whether rows of one class only are refused.

    Raises:
        LabelError: If the label has three values, or one class only unless that will do, or its
            table lacks a column or contradicts itself.
    """
    moment = _moment(frame, contract, as_of)
    reported = reported_labels(frame, contract, labels=labels, as_of=moment)
    label = reported[LABEL]
    if contract.label.source is None:
        label, is_unseen = _seen(reported, contract, moment)
    else:
        is_unseen = _nowhere(frame)
    is_immature = _too_young(frame, contract, moment)
    if contract.label.absent_means == "negative":
        label = label.fill_null(0)
    else:
        is_immature |= is_unseen
    label = label.set(is_immature, None).alias(LABEL)
    n_immature = int(is_immature.sum())
    labelled = LabelledFrame(
        reported.with_columns(label), label.null_count() - n_immature, n_immature, moment
    )
    if both_classes:
        _check_classes(labelled, contract)
    return labelled


def reported_labels(
    frame: pl.DataFrame,
    contract: Contract,
    *,
    labels: pl.DataFrame | None = None,
    as_of: datetime | None = None,
) -> pl.DataFrame:
    """Return ``frame`` with ``label`` as the table has it, and when it was reported.

    What an absent label means, and whether the delay has passed, is left to the caller.

    Args:
        frame: A conformed table.
        contract: Resolved against the table.
        labels: The other table, where ``label.source`` names one; default: read from there.
        as_of: Reports of another table after this moment are left out; default: all count.

    Raises:
        LabelError: If the label has three values, or its table lacks a column or contradicts
            itself.
    """
    if contract.label.source is not None:
        table = labels if labels is not None else read_table(contract.label.source)
        return frame.with_columns(_joined_labels(frame, contract, table, as_of))
    label = _binary(_column(frame, contract.label.column, "the table"), contract)
    if contract.label.reported_at is None:
        return frame.with_columns(label)
    reported = _reported(frame, contract, "the table").alias(LABEL_REPORTED_AT)
    return frame.with_columns(label, reported)


def known_after(frame: pl.DataFrame, contract: Contract) -> pl.Series:
    """Return how many microseconds after its event each row's label is known, if it has one.

    That is the label delay, or the report where it came later.

    Args:
        frame: Conformed rows with ``label_reported_at``, where the contract has reports.
        contract: Resolved against the table; with an event time.
    """
    delay = microseconds(contract.label.delay)
    if LABEL_REPORTED_AT not in frame.columns:
        return pl.Series([delay], dtype=pl.Int64).new_from_index(0, frame.height)
    assert contract.event_time_column is not None
    elapsed = frame[LABEL_REPORTED_AT] - frame[contract.event_time_column]
    return elapsed.dt.total_microseconds().fill_null(delay).clip(lower_bound=delay)


def _moment(frame: pl.DataFrame, contract: Contract, as_of: datetime | None) -> datetime | None:
    if as_of is not None:
        return as_of.astimezone(UTC) if as_of.tzinfo else as_of.replace(tzinfo=UTC)
    column = contract.event_time_column
    newest = frame[column].max() if column is not None else None
    return newest if isinstance(newest, datetime) else None


def _too_young(frame: pl.DataFrame, contract: Contract, moment: datetime | None) -> pl.Series:
    column = contract.event_time_column
    if column is None or moment is None:
        return _nowhere(frame)
    # Without an event time nobody can say that the delay has passed.
    return (frame[column] + contract.label.delay > moment).fill_null(value=True)


def _seen(
    reported: pl.DataFrame, contract: Contract, moment: datetime | None
) -> tuple[pl.Series, pl.Series]:
    """Return the table's own labels as far as they were reported, and which were not yet."""
    label = reported[LABEL]
    if contract.label.reported_at is None or moment is None:
        return label, _nowhere(reported)
    is_late = (reported[LABEL_REPORTED_AT] > moment).fill_null(value=False)
    is_unseen = is_late & label.is_not_null()
    return label.set(is_unseen, None), is_unseen


def _nowhere(frame: pl.DataFrame) -> pl.Series:
    return pl.repeat(value=False, n=frame.height, eager=True)


def _joined_labels(
    frame: pl.DataFrame, contract: Contract, table: pl.DataFrame, moment: datetime | None
) -> list[pl.Series]:
    """Return the labels of another table, those reported by ``moment``, in this row order.

    Where the contract says when they were reported, that comes second.
    """
    key = contract.label.key
    assert key is not None
    where = f"the label table {contract.label.source}"
    outcomes = pl.DataFrame(
        {
            "key": _key_text(_column(table, key, where)),
            LABEL: _binary(_column(table, contract.label.column, where), contract),
        }
    )
    if contract.label.reported_at is not None:
        outcomes = outcomes.with_columns(_reported(table, contract, where).alias(LABEL_REPORTED_AT))
        if moment is not None:
            at = pl.col(LABEL_REPORTED_AT)
            seen = at.is_null() | (at <= moment)
            outcomes = outcomes.filter(seen)
    keys = pl.DataFrame({"key": _key_text(_column(frame, key, "the table"))})
    newest = _one_per_key(outcomes.drop_nulls(["key", LABEL]), where)
    joined = keys.join(newest, on="key", how="left", maintain_order="left")
    logger.info(
        "labels joined",
        extra={"labels": newest.height, "found": joined.height - joined[LABEL].null_count()},
    )
    return joined.drop("key").get_columns()


def _one_per_key(outcomes: pl.DataFrame, where: str) -> pl.DataFrame:
    """Return the last report of every key; reports that contradict each other are refused."""
    if LABEL_REPORTED_AT in outcomes.columns:
        outcomes = _last_reports(outcomes)
    outcomes = outcomes.unique(maintain_order=True)
    n_contradicted = outcomes.filter(pl.col("key").is_duplicated())["key"].n_unique()
    if n_contradicted:
        raise LabelError(
            f"{n_contradicted} key(s) of {where} have both classes. Keep one row a key, "
            "or name label.reported_at so that the last report counts."
        )
    return outcomes


def _last_reports(outcomes: pl.DataFrame) -> pl.DataFrame:
    """Keep the last reports of every key, each with the moment from which its class was known.

    A report without a moment is known from the label delay on, whatever comes later.
    """
    at, is_positive = pl.col(LABEL_REPORTED_AT), pl.col(LABEL) == 1
    newest = [at.filter(kind).max().over("key") for kind in (is_positive, ~is_positive)]
    contradicted = pl.when(is_positive).then(newest[1]).otherwise(newest[0])
    stands = contradicted.is_null() | (at > contradicted)
    is_last = at.is_null() | (at == at.max().over("key")) | stands
    since = pl.when(at.null_count() == 0).then(at.min())
    return outcomes.filter(is_last).group_by("key", LABEL, maintain_order=True).agg(since)


def _reported(table: pl.DataFrame, contract: Contract, where: str) -> pl.Series:
    name = contract.label.reported_at
    assert name is not None
    zone = contract.columns.event_time.time_zone if contract.columns.event_time else "UTC"
    return to_utc(_column(table, name, where), EventTime(column=name, time_zone=zone))


def _column(table: pl.DataFrame, name: str, where: str) -> pl.Series:
    if name not in table.columns:
        shown = ", ".join(map(repr, table.columns[:_SHOWN_VALUES]))
        raise LabelError(f"Column {name!r} is missing from {where}, which has {shown}.")
    return table[name]


def _key_text(column: pl.Series) -> pl.Series:
    whole = column.cast(pl.Int64, strict=False) if column.dtype.is_float() else column
    return whole.cast(pl.String)


def _binary(column: pl.Series, contract: Contract) -> pl.Series:
    """Return 1 where a value is the positive one, 0 where it is the other, null where none."""
    values = label_text(column)
    positive = label_text(pl.Series([contract.label.positive], strict=False)).first()
    counts = values.drop_nulls().value_counts(sort=True)
    if counts.height > 2:
        raise LabelError(
            f"Label {column.name!r} has {counts.height} values ({_shown(counts)}); it must have "
            "two. Make the label of the other rows missing, or merge values before."
        )
    if counts.height == 2 and positive not in counts[column.name]:
        raise LabelError(
            f"Label {column.name!r} is never {contract.label.positive!r} ({_shown(counts)}). "
            "Set label.positive to the value of the rare class."
        )
    label: pl.Series = (values == positive).cast(pl.Int8)
    return label.alias(LABEL)


def label_text(column: pl.Series) -> pl.Series:
    """Return label values in one spelling: ``1``, ``"1"``, ``1.0`` and ``true`` are the same.

    Example:
        >>> label_text(pl.Series(["1.0", '"0"', "TRUE", "NA", "paid"])).to_list()
        ['1', '0', '1', None, 'paid']
    """
    if column.dtype == pl.Boolean:
        return column.cast(pl.Int8).cast(pl.String)
    text = without_missing(column.cast(pl.String).str.strip_chars().str.strip_chars("\"'"))
    numbers = text.cast(pl.Float64, strict=False)
    whole = numbers.cast(pl.Int64, strict=False).cast(pl.String)
    is_whole = (numbers.round(0) == numbers).fill_null(value=False) & whole.is_not_null()
    spelt = text.str.to_lowercase().replace_strict({"true": "1", "false": "0"}, default=text)
    return whole.zip_with(is_whole, spelt).alias(column.name)


def _shown(counts: pl.DataFrame) -> str:
    pairs = [f"{value!r}: {n}" for value, n in counts.head(_SHOWN_VALUES).rows()]
    return ", ".join(pairs) + (", …" if counts.height > _SHOWN_VALUES else "")


def _check_classes(labelled: LabelledFrame, contract: Contract) -> None:
    label = labelled.frame[LABEL]
    n_positive, n_negative = int((label == 1).sum()), int((label == 0).sum())
    if n_positive and n_negative:
        return
    left_out = f"{labelled.n_immature} immature, {labelled.n_unlabelled} without a label"
    when = f" as of {labelled.as_of:%Y-%m-%d %H:%M}" if labelled.as_of else ""
    raise LabelError(
        f"Label {contract.label.column!r} has one class only{when}: {n_positive} positive, "
        f"{n_negative} negative ({left_out}). Bring rows of both, or check label.positive, "
        "label.delay and --as-of."
    )

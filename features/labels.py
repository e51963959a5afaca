"""Labels as they were known at a moment: what had been reported by then, and nothing later.

A row whose label delay has not passed has no label yet, whatever its table says today; it is
left out and never counted as negative. What a missing label means once the delay has passed
is the contract's ``absent_means``.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from features.contract import Contract
from features.durations import microseconds
from features.ingestion.tables import read_table
from features.joined_labels import joined_labels
from features.label_values import (
    LABEL,
    LABEL_REPORTED_AT,
    LabelError,
    binary_labels,
    label_column,
    label_text,
    reported_moments,
)

__all__ = [
    "LABEL",
    "LABEL_REPORTED_AT",
    "LabelError",
    "LabelledFrame",
    "attach_labels",
    "known_after",
    "label_text",
    "reported_labels",
]


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
        return frame.with_columns(joined_labels(frame, contract, table, as_of))
    label = binary_labels(label_column(frame, contract.label.column, "the table"), contract)
    if contract.label.reported_at is None:
        return frame.with_columns(label)
    reported = reported_moments(frame, contract, "the table").alias(LABEL_REPORTED_AT)
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

"""The values of a label: two classes in any spelling, and the moments of their reports."""

import polars as pl

from features.contract import Contract
from features.contract_blocks import EventTime
from features.ingestion.data_error import DataError
from features.ingestion.timestamps import to_utc
from features.ingestion.typed_text import without_missing

LABEL = "label"
LABEL_REPORTED_AT = "label_reported_at"
_SHOWN_VALUES = 5


class LabelError(DataError):
    """Raised when a label is not two known classes; says what was counted."""


def reported_moments(table: pl.DataFrame, contract: Contract, where: str) -> pl.Series:
    """Return when each row of ``table`` was reported, Datetime[us, UTC]; null where it is not said.

    Raises:
        LabelError: If the table, which messages call ``where``, lacks the column.
    """
    name = contract.label.reported_at
    assert name is not None
    zone = contract.columns.event_time.time_zone if contract.columns.event_time else "UTC"
    return to_utc(label_column(table, name, where), EventTime(column=name, time_zone=zone))


def label_column(table: pl.DataFrame, name: str, where: str) -> pl.Series:
    """Return a column of ``table``, which messages call ``where``.

    Raises:
        LabelError: If it lacks the column.
    """
    if name not in table.columns:
        shown = ", ".join(map(repr, table.columns[:_SHOWN_VALUES]))
        raise LabelError(f"Column {name!r} is missing from {where}, which has {shown}.")
    return table[name]


def binary_labels(column: pl.Series, contract: Contract) -> pl.Series:
    """Return 1 where a value is the positive one, 0 where it is the other, null where none, Int8.

    Raises:
        LabelError: If there are three values, or two of which none is ``label.positive``.
    """
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

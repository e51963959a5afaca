"""What a table looked like: per column its type, range, mean and shares of categories.

A profile is fitted on the training rows of a version and kept with it. The next table is held
against it (:mod:`features.validation.expectations`), so that a broken export is seen before it
is learnt.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, Self

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from features.contract import Contract

MAX_CATEGORIES = 200
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)

ColumnType = Literal["number", "text"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ColumnProfile(_Frozen):
    """One column. Of a number: range, quantiles, mean, std; of a text: shares of its values.

    Attributes:
        null_share: Share of the rows without a value, in [0, 1].
        quantiles: Value by probability, for example ``{"0.5": 22.0}``; finite values only.
        categories: Share of the rows *with a value* by category: the most frequent 200.
        n_distinct: Distinct values of a text column.
    """

    type: ColumnType
    null_share: float = Field(ge=0, le=1)
    minimum: float | None = None
    maximum: float | None = None
    mean: float | None = None
    std: float | None = None
    quantiles: Mapping[str, float] = Field(default_factory=dict)
    categories: Mapping[str, float] = Field(default_factory=dict)
    n_distinct: int | None = None

    @property
    def is_constant(self) -> bool:
        """Whether every value there is the same; so is none at all."""
        if self.type == "text":
            return (self.n_distinct or 0) <= 1
        return self.minimum == self.maximum

    @property
    def largest_share(self) -> float:
        """The most that any one value may have of the values, as far as the profile tells.

        Example:
            >>> spread = {"0.01": 1.0, "0.05": 2.0, "0.25": 2.0, "0.5": 3.0, "0.75": 4.0}
            >>> ColumnProfile(type="number", null_share=0, quantiles=spread).largest_share
            0.5
        """
        if self.type == "text":
            return max(self.categories.values(), default=1.0)
        known = sorted((float(q), value) for q, value in self.quantiles.items())
        at = [0.0, *(q for q, _ in known), 1.0]
        largest, first = 0.0, 0
        for i in range(1, len(known) + 1):
            if i == len(known) or known[i][1] != known[first][1]:
                # A value at some of the quantiles ends before the next on either side.
                largest, first = max(largest, at[i + 1] - at[first]), i
        return largest if known else 1.0


class DataProfile(_Frozen):
    """A table in numbers. ``to_json`` and ``from_json`` lose nothing.

    Attributes:
        n_rows: Rows of the table.
        label_rate: Share of positives among the labelled rows; ``None`` without a label.
        n_labelled: Rows that have a label.
        first_event: Oldest event time, UTC; ``None`` without one.
        last_event: Newest event time, UTC.
        is_time_ordered: Whether event times never decrease from row to row.
        columns: Numeric and categorical columns by name.
    """

    n_rows: int = Field(ge=0)
    n_labelled: int = Field(default=0, ge=0)
    label_rate: float | None = None
    first_event: datetime | None = None
    last_event: datetime | None = None
    is_time_ordered: bool | None = None
    columns: Mapping[str, ColumnProfile] = Field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain values that JSON can hold."""
        return self.model_dump(mode="json")

    @property
    def constant_columns(self) -> tuple[str, ...]:
        """Columns that hold the same value in every row that has one."""
        return tuple(name for name, column in self.columns.items() if column.is_constant)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return the profile that :meth:`to_json` wrote."""
        return cls.model_validate(dict(value))


def fit_profile(
    frame: pl.DataFrame | pl.LazyFrame, contract: Contract, *, label: pl.Series | None = None
) -> DataProfile:
    """Return the profile of a conformed table.

    Args:
        frame: Typed as ``ingestion.conform`` types it.
        contract: Resolved against the table.
        label: 1, 0 or null (no label) for each row. Default: the Int8 column ``label`` that
            ``labels.attach_labels`` adds, if it is there.

    Returns:
        The profile; columns of the contract that the table lacks are left out.
    """
    lazy = frame.lazy()
    schema = lazy.collect_schema()
    numeric = [name for name in contract.numeric_columns if name in schema]
    text = [name for name in contract.categorical_features if name in schema]
    facts = lazy.select(
        pl.len().alias("rows"),
        *_time_facts(schema, contract.event_time_column),
        *(fact for i, name in enumerate(numeric) for fact in _number_facts(i, name)),
        *(fact for i, name in enumerate(text) for fact in _text_facts(i, name)),
    ).collect()
    row = facts.row(0, named=True)
    n_rows = int(row["rows"])
    if label is None and schema.get("label") == pl.Int8:
        label = lazy.select("label").collect()["label"]
    columns = {name: _number_profile(row, i, n_rows) for i, name in enumerate(numeric)}
    columns |= {name: _text_profile(row, i, n_rows) for i, name in enumerate(text)}
    return DataProfile(
        n_rows=n_rows,
        n_labelled=0 if label is None else label.count(),
        label_rate=None if label is None else _mean(label),
        first_event=row.get("first_event"),
        last_event=row.get("last_event"),
        is_time_ordered=row.get("is_time_ordered"),
        columns=columns,
    )


def _time_facts(schema: pl.Schema, column: str | None) -> list[pl.Expr]:
    if column is None or not isinstance(schema.get(column), pl.Datetime):
        return []
    time = pl.col(column).drop_nulls()
    return [
        time.min().alias("first_event"),
        time.max().alias("last_event"),
        # No rows are in order; so is one.
        (time.diff().min() >= pl.duration()).fill_null(value=True).alias("is_time_ordered"),
    ]


def _number_facts(i: int, name: str) -> list[pl.Expr]:
    values = pl.col(name).cast(pl.Float64, strict=False).fill_nan(None)
    finite = values.filter(values.is_finite())
    return [
        values.null_count().alias(f"null:{i}"),
        finite.min().alias(f"min:{i}"),
        finite.max().alias(f"max:{i}"),
        finite.mean().alias(f"mean:{i}"),
        finite.std(ddof=0).alias(f"std:{i}"),
        # All at once: one by one, each quantile would sort the column again.
        finite.quantile(list(QUANTILES), "nearest").alias(f"quantiles:{i}"),
    ]


def _text_facts(i: int, name: str) -> list[pl.Expr]:
    values = pl.col(name).cast(pl.String, strict=False)
    counted = values.drop_nulls().value_counts(sort=True, name="rows")
    # Equal counts are ordered by value, so that the same rows always give the same profile.
    by_count = counted.sort_by(
        [counted.struct.field("rows"), counted.struct.field(name)], descending=[True, False]
    )
    return [
        values.null_count().alias(f"text_null:{i}"),
        values.drop_nulls().n_unique().alias(f"distinct:{i}"),
        by_count.head(MAX_CATEGORIES).implode().alias(f"top:{i}"),
    ]


def _number_profile(row: Mapping[str, Any], i: int, n_rows: int) -> ColumnProfile:
    pairs = zip(QUANTILES, row[f"quantiles:{i}"], strict=True)
    return ColumnProfile(
        type="number",
        null_share=_share(row[f"null:{i}"], n_rows),
        minimum=row[f"min:{i}"],
        maximum=row[f"max:{i}"],
        mean=_finite(row[f"mean:{i}"]),
        std=_finite(row[f"std:{i}"]),
        quantiles={str(q): value for q, value in pairs if value is not None},
    )


def _text_profile(row: Mapping[str, Any], i: int, n_rows: int) -> ColumnProfile:
    n_null = row[f"text_null:{i}"]
    return ColumnProfile(
        type="text",
        null_share=_share(n_null, n_rows),
        categories=_shares(row[f"top:{i}"], n_rows - n_null),
        n_distinct=row[f"distinct:{i}"],
    )


def _shares(counted: Sequence[Mapping[str, Any]] | None, n_values: int) -> dict[str, float]:
    pairs = (tuple(entry.values()) for entry in counted or ())
    return {str(value): count / n_values for value, count in pairs}


def _share(count: int, n_rows: int) -> float:
    return count / n_rows if n_rows else 0.0


def _mean(label: pl.Series) -> float | None:
    known = label.drop_nulls()
    return int(known.sum()) / len(known) if len(known) else None


def _finite(value: float | None) -> float | None:
    """Return None for a mean or std that overflowed: JSON has no infinity."""
    return value if value is not None and abs(value) < float("inf") else None

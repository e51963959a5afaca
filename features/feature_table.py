"""The feature table: one row for each labelled row, every feature by name, label and part."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path

import polars as pl

from features.contract import Contract
from features.derived import derive
from features.feature_set import FeatureSet
from features.ingestion.conforming import conform
from features.labels import LABEL, LabelledFrame, attach_labels
from features.money import to_minor_units
from features.splits import PARTS, TEST, TRAIN, assign_parts
from features.velocity_table import add_velocity, check_history
from infra.storage import sha256_file, sha256_json

SEPARATE_TEST = "__is_separate_test"
"""Column that says, while a feature table is made, whether a row is of a separate test file."""


@dataclass(frozen=True, slots=True)
class FeatureTable:
    """Labelled rows with their features.

    Attributes:
        frame: ``row_id`` (String), ``event_time`` (Datetime[us, UTC] or null), ``amount_minor``
            (Int64 or null), each feature under its name (Float64 or String, null where missing),
            ``label`` (Int8) and ``part`` (String; null for rows that a gap leaves out).
        feature_set: Fitted on the train part.
        counts: Rows and positives by part, rows left out by reason, and with features over time
            the rows that stand after one that happened later.
    """

    frame: pl.DataFrame
    feature_set: FeatureSet
    counts: dict[str, int]


def feature_table_key(
    data_sha256s: Sequence[str],
    contract: Contract,
    as_of: datetime | None,
    since: datetime | None = None,
    *,
    has_test: bool,
) -> str:
    """Return the content address of a feature table: data, contract, moments and code."""
    return sha256_json(
        {
            "data": list(data_sha256s),
            "contract": contract.data_hash(),
            "as_of": as_of.isoformat() if as_of else None,
            "since": since.isoformat() if since else None,
            "has_test": has_test,
            "code": _code_hash(),
            "polars": pl.__version__,
        }
    )


def build_feature_table(
    frame: pl.DataFrame,
    contract: Contract,
    *,
    input_types: Mapping[str, str],
    as_of: datetime | None = None,
    since: datetime | None = None,
    labels: pl.DataFrame | None = None,
    test: pl.DataFrame | None = None,
    is_served: bool = False,
) -> FeatureTable:
    """Return the feature table of validated rows.

    Args:
        frame: Validated rows.
        contract: Resolved against the table.
        input_types: What a request must hold; see :func:`input_types_of`.
        as_of: The moment whose knowledge counts; default: the newest event time.
        since: Rows before it are the others' past and stand in no part; default: there are none.
        labels: Labels from another table, where the contract says so.
        test: Rows of a separate test file; then every row of ``frame`` is for fitting.
        is_served: Whether the rows bring their features over time as they were served.

    Raises:
        LabelError: If the label is not two known classes.
        SplitError: If a part would have too few positives.
        WindowLongerThanHistory: If the rows span less time than a window of the contract.
    """
    labelled = _labelled(frame, contract, as_of, labels, test)
    events = labelled.frame
    if not is_served:
        check_history(events, contract)
        # Rows that stand in no part are part of the others' past; they leave after that.
        events = add_velocity(events, contract)
    rows = derive(events.filter(stands_in_table(contract, since)), contract)
    table = with_reserved_columns(rows, contract)
    parts = parts_of(table, contract, has_separate_test=test is not None)
    kept = table.with_columns(parts).select(table_columns(contract))
    train = rows.filter(parts == TRAIN)
    feature_set = FeatureSet.fit(contract, train, input_types=input_types)
    return FeatureTable(kept, feature_set, count_rows(kept, labelled, contract, since))


def input_types_of(schema: Mapping[str, pl.DataType], contract: Contract) -> dict[str, str]:
    """Return what a request must hold for each column, from the types of the table as read."""
    return {
        name: _input_type(schema.get(name, pl.Null()), name, contract)
        for name in contract.request_columns
    }


def _input_type(dtype: pl.DataType, name: str, contract: Contract) -> str:
    if name == contract.event_time_column:
        return "timestamp"
    if dtype == pl.Boolean:
        return "boolean"
    if name in contract.numeric_columns or dtype.is_float():
        return "number"
    return "integer" if dtype.is_integer() else "text"


def with_row_id(frame: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    """Return a conformed table with ``row_id``: the contract's id, else the row's number."""
    if contract.columns.id is not None:
        return frame.with_columns(row_id=pl.col(contract.columns.id).cast(pl.String))
    return frame.with_columns(row_id=pl.int_range(pl.len()).cast(pl.String))


def table_columns(contract: Contract) -> tuple[str, ...]:
    """Return the columns of a feature table, in order."""
    features = (*contract.numeric_features, *contract.categorical_features)
    return ("row_id", "event_time", "amount_minor", *features, LABEL, "part")


def with_reserved_columns(rows: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    """Return conformed rows with ``event_time`` and ``amount_minor``, null where there is none."""
    amount, time = contract.columns.amount, contract.event_time_column
    minor = to_minor_units(rows[amount.column], amount.currency) if amount else pl.lit(None)
    moment = pl.col(time) if time else pl.lit(None)
    return rows.with_columns(
        minor.cast(pl.Int64).alias("amount_minor"),
        event_time=moment.cast(pl.Datetime("us", "UTC")),
    )


def stands_in_table(contract: Contract, since: datetime | None) -> pl.Expr:
    """Return which rows of a labelled table a feature table holds: the others are only their past.

    Args:
        contract: Names the event time, where there is a ``since``.
        since: As for :func:`build_feature_table`.
    """
    has_label = pl.col(LABEL).is_not_null()
    if since is None:
        return has_label
    return has_label & (pl.col(_time_of(contract)) >= since)


def _time_of(contract: Contract) -> str:
    assert contract.event_time_column is not None, "a begin needs an event time"
    return contract.event_time_column


def parts_of(table: pl.DataFrame, contract: Contract, *, has_separate_test: bool) -> pl.Series:
    """Return the part of each labelled row.

    Args:
        table: With ``event_time``, ``label``, the split's own column where there is one, and
            ``SEPARATE_TEST``; rows of a separate test come last.
        contract: Resolved against the table.
        has_separate_test: Whether there is one; then every other row is for fitting.

    Raises:
        SplitError: If a part would have too few positives.
    """
    split, delay = contract.split, contract.label.delay
    if not has_separate_test:
        return assign_parts(table, split, label_delay=delay)
    is_test = table[SEPARATE_TEST]
    begins = table.filter(is_test)["event_time"].min()
    fitting = assign_parts(
        table.filter(~is_test),
        split,
        label_delay=delay,
        has_test=False,
        test_start=begins if isinstance(begins, datetime) else None,
    )
    test = pl.Series("part", [TEST]).new_from_index(0, int(is_test.sum()))
    return fitting.append(test)


def count_rows(
    table: pl.DataFrame, labelled: LabelledFrame, contract: Contract, since: datetime | None
) -> dict[str, int]:
    """Return ``FeatureTable.counts`` of a table, of which ``label`` and ``part`` are read."""
    counts: dict[str, int] = {}
    for name in PARTS:
        label = table.filter(pl.col("part") == name)[LABEL]
        counts[f"{name}_rows"], counts[f"{name}_positives"] = len(label), int(label.sum())
    counts["gap_rows"] = table["part"].null_count()
    counts["immature_rows"] = labelled.n_immature
    counts["unlabelled_rows"] = labelled.n_unlabelled
    if since is not None:
        moments = labelled.frame[_time_of(contract)]
        counts["history_rows"] = int((moments < since).sum())
    return counts | _out_of_order(labelled.frame, contract)


_NO_FEATURES = {"simulation", "drafting"}


def _labelled(
    frame: pl.DataFrame,
    contract: Contract,
    as_of: datetime | None,
    labels: pl.DataFrame | None,
    test: pl.DataFrame | None,
) -> LabelledFrame:
    """Label the rows to fit on and the separate test rows as one table, in this order."""
    rows = with_row_id(conform(frame, contract), contract)
    rows = rows.with_columns(pl.lit(value=False).alias(SEPARATE_TEST))
    if test is not None:
        late = with_row_id(conform(test, contract), contract)
        late = late.with_columns(pl.lit(value=True).alias(SEPARATE_TEST))
        rows = pl.concat([rows, late.select(rows.columns)], how="vertical_relaxed")
    return attach_labels(rows, contract, as_of=as_of, labels=labels)


def _out_of_order(frame: pl.DataFrame, contract: Contract) -> dict[str, int]:
    """Count the rows that stand after one that happened later, where that could matter."""
    if contract.event_time_column is None or not contract.velocity_features:
        return {}
    moments = frame[contract.event_time_column].drop_nulls()
    return {"out_of_order_rows": int((moments < moments.cum_max()).sum())}


@cache
def _code_hash() -> str:
    """Return the hash of the sources that make features: other code may make others."""
    folder = Path(__file__).parent
    sources = [path for path in folder.rglob("*.py") if path.parent.name not in _NO_FEATURES]
    return sha256_json({str(path.relative_to(folder)): sha256_file(path) for path in sources})

"""Labels that stand in another table: of several reports about a row, the last class counts."""

import logging
from datetime import datetime

import polars as pl

from features.contract import Contract
from features.label_values import (
    LABEL,
    LABEL_REPORTED_AT,
    LabelError,
    binary_labels,
    label_column,
    reported_moments,
)

logger = logging.getLogger(__name__)


def joined_labels(
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
            "key": _key_text(label_column(table, key, where)),
            LABEL: binary_labels(label_column(table, contract.label.column, where), contract),
        }
    )
    if contract.label.reported_at is not None:
        outcomes = outcomes.with_columns(
            reported_moments(table, contract, where).alias(LABEL_REPORTED_AT)
        )
        if moment is not None:
            at = pl.col(LABEL_REPORTED_AT)
            seen = at.is_null() | (at <= moment)
            outcomes = outcomes.filter(seen)
    keys = pl.DataFrame({"key": _key_text(label_column(frame, key, "the table"))})
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


def _key_text(column: pl.Series) -> pl.Series:
    whole = column.cast(pl.Int64, strict=False) if column.dtype.is_float() else column
    return whole.cast(pl.String)

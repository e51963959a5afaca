"""Rows of a table with their features over time: a table is its own past, older rows add to it."""

import logging
from collections.abc import Sequence

import polars as pl

from features.contract import Contract
from features.ingestion.conforming import conform
from features.served_table import brings_served_features
from features.velocity_table import WindowLongerThanHistory, add_velocity, check_history
from infra.errors import InputError

logger = logging.getLogger(__name__)


def scored_columns(frame: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    """Return the columns that scoring reads: a request's, and labels where label rates do.

    Of rows that were served these are a request's and their features over time.
    """
    wanted = {*contract.request_columns}
    if brings_served_features(frame, contract):
        wanted |= {*contract.velocity_features}
    elif contract.label_rate:
        label = contract.label
        own = (label.column, label.reported_at) if label.source is None else (label.key,)
        wanted |= {name for name in own if name is not None}
    return frame.select(name for name in frame.columns if name in wanted)


def with_past(
    rows: pl.DataFrame, contract: Contract, history: pl.DataFrame | None = None
) -> pl.DataFrame:
    """Return conformed rows with every feature over time that the contract declares.

    Args:
        rows: Conformed, with the columns of :func:`scored_columns`; rows that were served keep
            their features over time.
        contract: Resolved.
        history: A table as read, of earlier rows. Rows of it that are in ``rows`` too, by the
            contract's id, count once.

    Raises:
        InputError: If there is history and the contract declares no features over time.
        DataError: If the history does not fit the contract.
    """
    if not contract.velocity_features:
        if history is not None:
            raise InputError(
                f"--history is for features over time; {contract.name!r} declares none. "
                "Leave it out."
            )
        return rows
    if set(contract.velocity_features) <= set(rows.columns):
        if history is not None:
            raise InputError(
                "--history is for rows whose features over time are yet to be computed; these "
                "bring those that they were served with. Leave it out."
            )
        return rows
    past = None if history is None else _others(history, rows, contract)
    if contract.label_rate and not _has_labels(rows, contract) and not _has_labels(past, contract):
        logger.warning(
            "no labels: label rates take every earlier row as not reported",
            extra={"column": contract.label.column},
        )
    _warn_of_short_history([rows] if past is None else [past, rows], contract)
    return add_velocity(rows, contract, history=past)


def _warn_of_short_history(tables: Sequence[pl.DataFrame], contract: Contract) -> None:
    """Say so where no row can have its whole past; scoring new rows is no reason to stop."""
    moments = [table.select(contract.event_time_column or "") for table in tables]
    try:
        check_history(pl.concat(moments), contract)
    except WindowLongerThanHistory as error:
        logger.warning(
            "features over time see less than they look back to; bring earlier rows with --history",
            extra={"why": str(error)},
        )


def _others(history: pl.DataFrame, rows: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    past = conform(scored_columns(history, contract), contract)
    if contract.columns.id is None:
        return past
    return past.join(rows.select(contract.columns.id), on=contract.columns.id, how="anti")


def _has_labels(rows: pl.DataFrame | None, contract: Contract) -> bool:
    return rows is not None and (
        contract.label.source is not None or contract.label.column in rows.columns
    )

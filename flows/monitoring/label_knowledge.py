"""What was known at a moment of rows from the decision log, and of which rows it may be said.

A row is judged once its label delay has passed, never before: among younger rows positives are
known sooner than negatives. What the absence of a report means then is the contract's word, but
for declined rows: nobody reports what never happened.
"""

from collections.abc import Mapping
from datetime import datetime

import polars as pl

from balancing.calibration.thresholds import DECLINE
from features.contract import Contract
from features.online.events import microseconds_of
from flows.monitoring.decided_rows import MOMENT
from serving.outcomes import OutcomeBook

_DAY_MICROSECONDS = 86_400_000_000.0


def reported_labels(
    book: OutcomeBook, rows: pl.DataFrame, model: str, as_of: datetime
) -> pl.DataFrame:
    """Return what was reported of rows by a moment: ``row_id``, ``reported`` and when."""
    outcomes = book.outcomes_at(model, rows["row_id"], microseconds_of(as_of))
    return pl.DataFrame(
        {
            "row_id": pl.Series(list(outcomes), dtype=pl.String),
            "reported": pl.Series([each.label for each in outcomes.values()], dtype=pl.Int8),
            "reported_at": pl.Series(
                [each.reported_at for each in outcomes.values()], dtype=pl.Int64
            ).cast(MOMENT),
        }
    )


def with_knowledge(
    rows: pl.DataFrame,
    reported: pl.DataFrame,
    contract: Contract,
    as_of: datetime,
    rates: Mapping[str, float],
) -> pl.DataFrame:
    """Return rows of the log with what was known of them at a moment.

    Args:
        rows: With the columns of :data:`flows.monitoring.decided_rows.DECIDED`.
        reported: Of :func:`reported_labels`.
        contract: Says how late labels are, and what their absence means.
        as_of: The moment.
        rates: Share of declined rows that a policy version lets through, by version.
    """
    delay, happened = contract.label.delay, pl.col("happened_at")
    is_mature = happened + delay <= as_of
    is_hidden = (pl.col("decision") == DECLINE) & ~pl.col("is_explored")
    absent = pl.lit(None, dtype=pl.Int8)
    if contract.label.absent_means == "negative":
        absent = pl.when(is_mature & ~is_hidden).then(pl.lit(0, dtype=pl.Int8))
    said = pl.col("reported").fill_null(absent)
    lag = pl.max_horizontal(pl.col("reported_at") - happened, pl.duration())
    lag = pl.when(pl.col("reported").is_not_null()).then(lag).otherwise(pl.lit(delay))
    return (
        rows.join(reported, on="row_id", how="left", maintain_order="left")
        .with_columns(
            label=pl.when(is_mature).then(said),
            is_mature=is_mature,
            is_positive=(pl.col("reported") == 1).fill_null(value=False),
            known_after=pl.when(said.is_not_null()).then(_days(lag)),
            age=_days(pl.lit(as_of).cast(MOMENT) - happened),
            weight=_weights(rates),
        )
        .drop("reported", "reported_at")
    )


def _weights(rates: Mapping[str, float]) -> pl.Expr:
    """Return how many rows each stands for: explored declines for the others, which count no more.

    Without exploration every row stands for itself.
    """
    if not rates:
        return pl.lit(1.0)
    stands_for = pl.col("policy_version").replace_strict(
        list(rates), [1 / rate for rate in rates.values()], default=None, return_dtype=pl.Float64
    )
    explores, is_declined = stands_for.is_not_null(), pl.col("decision") == DECLINE
    return (
        pl.when(pl.col("is_explored"))
        .then(stands_for)
        .when(is_declined & explores)
        .then(0.0)
        .otherwise(1.0)
    )


def _days(duration: pl.Expr) -> pl.Expr:
    return duration.dt.total_microseconds() / _DAY_MICROSECONDS

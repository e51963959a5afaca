"""What policies do on the rows of an impact preview, in figures: on all of them, and by segment."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from balancing.calibration.thresholds import REVIEW
from balancing.metrics.proportions import share_of
from features.labels import LABEL

OLD, NEW = "old", "new"
MOST_SEGMENTS = 12
"""Values of a column that are shown, the most frequent first; the table has all of them."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What one policy does on some rows.

    Attributes:
        alerts: Rows reviewed or declined.
        declines: Rows declined.
        alerts_per_day: None where the length of the period is unknown.
        caught: Positives among the alerts.
        missed: Positives that were approved.
        caught_amount: Their amounts, in major currency units; None without amounts.
        missed_amount: Likewise.
        precision: Positives among the alerts whose label is known; None without any.
        recall: Caught among the positives; None without any.
        false_positive_rate: Alerts among the known negatives; None without any.
        explored: Declines that are let through all the same, as many as are to be expected; 0
            where the policy does not explore.
        explored_per_day: Likewise; None where the length of the period is unknown.
        explored_amount: Amount of the known positives among them, to be expected, in major
            currency units; None without amounts.
    """

    alerts: int
    declines: int
    alerts_per_day: float | None
    caught: int
    missed: int
    caught_amount: float | None
    missed_amount: float | None
    precision: float | None
    recall: float | None
    false_positive_rate: float | None
    explored: float
    explored_per_day: float | None
    explored_amount: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two policies on the same rows: all rows, or those of one segment.

    Attributes:
        column: Column that segments the rows; None for all rows.
        value: Its value; None for all rows, and for rows without a value.
        rows: How many.
        positives: How many are known to be positive.
        old: What the earlier policy does; None where there is none to compare with.
        new: What the new one does.
    """

    column: str | None
    value: str | None
    rows: int
    positives: int
    old: Figures | None
    new: Figures


def compared(
    rows: pl.DataFrame, days: float | None, column: str | None = None, value: str | None = None
) -> Comparison:
    """Return what the policies do on rows, one line a row as :class:`flows.impact.Impact` has them.

    Args:
        rows: All rows, or those of a segment.
        days: Length of the whole period; None where it is unknown.
        column: That segments the rows.
        value: Of that column in these rows.
    """
    return Comparison(
        column=column,
        value=value,
        rows=rows.height,
        positives=int((rows[LABEL] == 1).sum()),
        old=_figures(rows, OLD, days) if f"{OLD}_decision" in rows.columns else None,
        new=_figures(rows, NEW, days),
    )


def _figures(rows: pl.DataFrame, which: str, days: float | None) -> Figures:
    decision, label, amount = rows[f"{which}_decision"], rows[LABEL], rows["amount"]
    explored = rows[f"{which}_explored"]
    n_explored = float(explored.sum())
    is_alert = decision >= REVIEW
    is_positive, is_negative = (label == 1).fill_null(value=False), (label == 0).fill_null(False)
    caught, missed = is_alert & is_positive, ~is_alert & is_positive
    n_caught, n_false = int(caught.sum()), int((is_alert & is_negative).sum())
    has_amounts = amount.null_count() < len(amount)
    return Figures(
        alerts=int(is_alert.sum()),
        declines=int((decision > REVIEW).sum()),
        alerts_per_day=int(is_alert.sum()) / days if days else None,
        caught=n_caught,
        missed=int(missed.sum()),
        caught_amount=float(amount.filter(caught).sum()) if has_amounts else None,
        missed_amount=float(amount.filter(missed).sum()) if has_amounts else None,
        precision=share_of(n_caught, n_caught + n_false),
        recall=share_of(n_caught, int(is_positive.sum())),
        false_positive_rate=share_of(n_false, int(is_negative.sum())),
        explored=n_explored,
        explored_per_day=n_explored / days if days else None,
        explored_amount=float((explored * amount).filter(is_positive).sum())
        if has_amounts
        else None,
    )


def by_segment(rows: pl.DataFrame, days: float | None, columns: Sequence[str]) -> list[Comparison]:
    """Return what the policies do on the rows of each segment, the most frequent ones first."""
    found = []
    for column in columns:
        values = rows[column].value_counts(sort=True)[column].head(MOST_SEGMENTS)
        for value in values:
            part = rows.filter(pl.col(column).eq_missing(value))
            found.append(compared(part, days, column, None if value is None else str(value)))
    return found

"""What a new policy would have done on the last period, beside the one that decides until now.

Both policies decide the same rows from the same logits. Rows whose label is not known yet count
in alerts a day and in nothing that needs a label.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl

from balancing.calibration.policy import Policy
from balancing.calibration.thresholds import DECISION_NAMES, REVIEW
from balancing.metrics.period import period_days
from features.labels import LABEL
from features.segments import segment_keys
from flows.calibration_rows import logits_of

OLD, NEW = "old", "new"
MOST_SEGMENTS = 12
"""Values of a column that are shown, the most frequent first; the table has all of them."""
_TOP_FLIPS = 10


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


@dataclass(frozen=True, slots=True)
class Impact:
    """The whole preview.

    Attributes:
        rows: One line a row: id, time, amount, label, segment, and for each policy score, review
            and decline threshold, decision.
        since: Oldest event time among the rows, ISO 8601; None where rows carry no time.
        until: Newest event time.
        days: Length of the period.
        unlabelled: Rows whose label is not known yet.
        total: All rows.
        segments: By column, the most frequent values first.
        flips: Rows that are decided otherwise, by kind: from, to, rows, positives, amount.
        top_flips: The rows of each kind with the largest amounts, with why.
    """

    rows: pl.DataFrame
    since: str | None
    until: str | None
    days: float | None
    unlabelled: int
    total: Comparison
    segments: tuple[Comparison, ...]
    flips: tuple[dict[str, Any], ...]
    top_flips: tuple[dict[str, Any], ...]

    def to_json(self) -> dict[str, Any]:
        """Return everything but the rows as JSON values."""
        whole = {name: getattr(self, name) for name in self.__slots__ if name != "rows"}
        return whole | {
            "total": asdict(self.total),
            "segments": [asdict(segment) for segment in self.segments],
        }


def preview_impact(
    preview: pl.DataFrame,
    old: Policy | None,
    new: Policy,
    *,
    shown_columns: Sequence[str] = (),
    minor_units_per_major: int = 100,
) -> Impact:
    """Return what two policies do on rows of a period.

    Args:
        preview: Rows as :class:`flows.calibration_rows.CalibrationRows` holds them.
        old: The policy until now; None where there is none to compare with.
        new: The policy that may come.
        shown_columns: Columns to tell apart in the preview, those of the new policy first.
        minor_units_per_major: Minor units in one unit of the amounts' currency.
    """
    rows = preview.select(
        "row_id", "event_time", LABEL,
        (pl.col("amount_minor") / minor_units_per_major).alias("amount"),
        *shown_columns,
    )  # fmt: skip
    rows = _with_decisions(rows, preview, new, NEW)
    if old is not None:
        rows = _with_decisions(rows, preview, old, OLD)
    times = preview["event_time"].drop_nulls()
    days = None if times.is_empty() else period_days(times.to_numpy())
    flipped = None if old is None else _flipped(rows)
    return Impact(
        rows=rows,
        since=None if times.is_empty() else str(times.min()),
        until=None if times.is_empty() else str(times.max()),
        days=days,
        unlabelled=rows[LABEL].null_count(),
        total=_comparison(rows, days, None, None),
        segments=tuple(_by_segment(rows, days, shown_columns)),
        flips=() if flipped is None else tuple(_kinds_of_flips(flipped)),
        top_flips=() if flipped is None else tuple(_top_flips(flipped)),
    )


def _with_decisions(
    rows: pl.DataFrame, preview: pl.DataFrame, policy: Policy, which: str
) -> pl.DataFrame:
    segment = segment_keys(preview, policy.segment_columns)
    amount = preview["amount_minor"].cast(pl.Float64).to_numpy()
    score, decision = policy.decide(logits_of(preview), amount_minor=amount, segment=segment)
    review, decline = (
        pl.Series(np.broadcast_to(each, score.shape)).fill_nan(None)
        for each in policy.thresholds.of_rows(amount, segment)
    )
    return rows.with_columns(
        pl.Series(f"{which}_score", score),
        review.alias(f"{which}_review_threshold"),
        decline.alias(f"{which}_decline_threshold"),
        pl.Series(f"{which}_decision", decision),
    )


def _comparison(
    rows: pl.DataFrame, days: float | None, column: str | None, value: str | None
) -> Comparison:
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
        precision=_share(n_caught, n_caught + n_false),
        recall=_share(n_caught, int(is_positive.sum())),
        false_positive_rate=_share(n_false, int(is_negative.sum())),
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _by_segment(rows: pl.DataFrame, days: float | None, columns: Sequence[str]) -> list[Comparison]:
    found = []
    for column in columns:
        values = rows[column].value_counts(sort=True)[column].head(MOST_SEGMENTS)
        for value in values:
            part = rows.filter(pl.col(column).eq_missing(value))
            found.append(_comparison(part, days, column, None if value is None else str(value)))
    return found


def _flipped(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.filter(pl.col("old_decision") != pl.col("new_decision"))


def _kinds_of_flips(flipped: pl.DataFrame) -> list[dict[str, Any]]:
    """Return the kinds of flips, the most frequent first."""
    kinds = flipped.group_by("old_decision", "new_decision").agg(
        rows=pl.len(), positives=(pl.col(LABEL) == 1).sum(), amount=pl.col("amount").sum()
    )
    return [
        {
            "from": DECISION_NAMES[row.pop("old_decision")],
            "to": DECISION_NAMES[row.pop("new_decision")],
        }
        | row
        for row in kinds.sort("rows", "old_decision", "new_decision", descending=True).to_dicts()
    ]


def _top_flips(flipped: pl.DataFrame) -> list[dict[str, Any]]:
    """Return the largest rows of each kind of flip, known positives first."""
    order = flipped.sort(
        (pl.col(LABEL) == 1).fill_null(value=False), "amount", "new_score",
        descending=True, nulls_last=True,
    )  # fmt: skip
    top = order.group_by("old_decision", "new_decision", maintain_order=True).head(_TOP_FLIPS)
    return [_told(row) for row in top.to_dicts()]


def _told(row: dict[str, Any]) -> dict[str, Any]:
    decided = {
        f"{which}_decision": DECISION_NAMES[row[f"{which}_decision"]] for which in (OLD, NEW)
    }
    time = row["event_time"]
    return row | decided | {"event_time": None if time is None else str(time), "why": _why(row)}


def _why(row: dict[str, Any]) -> str:
    """Say why a row is decided otherwise: where its score lay, and where it lies."""
    return f"was {_place(row, OLD)}; now {_place(row, NEW)}"


def _place(row: dict[str, Any], which: str) -> str:
    score, decision = row[f"{which}_score"], row[f"{which}_decision"]
    review, decline = row[f"{which}_review_threshold"], row[f"{which}_decline_threshold"]
    if decision > REVIEW:
        return f"{score:.4g}, at or above decline from {decline:.4g}"
    if decision == REVIEW:
        below = "" if decline is None else f", below decline from {decline:.4g}"
        return f"{score:.4g}, at or above review from {review:.4g}{below}"
    lowest = min((each for each in (review, decline) if each is not None), default=np.inf)
    if lowest > 1:
        return f"{score:.4g}, where no score is worth an alert"
    return f"{score:.4g}, below review from {lowest:.4g}"

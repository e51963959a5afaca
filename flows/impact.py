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
from flows.decided_rows import with_decisions
from flows.impact_figures import NEW, OLD, Comparison, by_segment, compared

_TOP_FLIPS = 10


@dataclass(frozen=True, slots=True)
class Impact:
    """The whole preview.

    Attributes:
        rows: One line a row: id, time, amount, label, segment, and for each policy score, review
            and decline threshold, decision, and the probability to be explored.
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
    return compare_decisions(rows, shown_columns=shown_columns)


def compare_decisions(rows: pl.DataFrame, *, shown_columns: Sequence[str] = ()) -> Impact:
    """Return what was decided on rows of a period, by one or by two.

    Args:
        rows: ``row_id``, ``event_time``, ``label`` (null where it is not known), ``amount`` in
            major units, the shown columns, and for ``new``, and ``old`` where there is one,
            ``..._score``, ``..._review_threshold``, ``..._decline_threshold``, ``..._decision``, as
            :func:`flows.decided_rows.with_decisions` adds them.
        shown_columns: Columns to tell apart.
    """
    times = rows["event_time"].drop_nulls()
    days = None if times.is_empty() else period_days(times.to_numpy())
    has_old = f"{OLD}_decision" in rows.columns
    flipped = _flipped(rows) if has_old else None
    return Impact(
        rows=rows,
        since=None if times.is_empty() else str(times.min()),
        until=None if times.is_empty() else str(times.max()),
        days=days,
        unlabelled=rows[LABEL].null_count(),
        total=compared(rows, days),
        segments=tuple(by_segment(rows, days, shown_columns)),
        flips=() if flipped is None else tuple(_kinds_of_flips(flipped)),
        top_flips=() if flipped is None else tuple(_top_flips(flipped)),
    )


def _with_decisions(
    rows: pl.DataFrame, preview: pl.DataFrame, policy: Policy, which: str
) -> pl.DataFrame:
    segment = segment_keys(preview, policy.segment_columns)
    amount = preview["amount_minor"].cast(pl.Float64).to_numpy()
    score, decision = policy.decide(logits_of(preview), amount_minor=amount, segment=segment)
    return with_decisions(
        rows, policy, which, score=score, decision=decision, amount_minor=amount, segment=segment
    )


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

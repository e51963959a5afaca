"""Rows of a table, scored and decided by a released version as it would decide them today."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from features.contract import Contract
from features.durations import format_duration, microseconds
from features.feature_set import FeatureArrays
from features.feature_table import with_row_id
from features.ingestion.conforming import conform
from features.ingestion.tables import read_table
from features.labels import LABEL, attach_labels, known_after
from features.velocity import velocity_plan
from flows.monitoring.decided_rows import (
    DECIDED,
    KNOWN,
    MOMENT,
    SEGMENT,
    DecidedRows,
    MonitoredModel,
    Spans,
    segment_text,
)
from flows.monitoring.feature_sample import sample_of
from flows.past_rows import scored_columns, with_past
from infra.errors import InputError
from serving.decisions.personal_features import personal_features
from serving.scored import ScoredBatch
from serving.scorer import Scorer

_DAY_MICROSECONDS = 86_400_000_000.0


class WindowUnusable(InputError):
    """Raised for a window that no row can lie in, or of rows that carry no time."""


@dataclass(frozen=True, slots=True)
class ScoredTable:
    """A table with a version's scores and decisions, and what is known of its rows.

    Attributes:
        frame: The columns of :data:`flows.monitoring.decided_rows.DECIDED` and ``KNOWN``, and one
            a segment.
        arrays: Features of the same rows.
    """

    frame: pl.DataFrame
    arrays: FeatureArrays

    def between(
        self, begin: datetime | None, end: datetime | None, model: MonitoredModel, *, n_kept: int
    ) -> DecidedRows:
        """Return the rows of a period, or all rows where both ends are open."""
        is_chosen = np.ones(self.frame.height, dtype=bool)
        if begin is not None and end is not None:
            happened = self.frame["happened_at"]
            is_chosen = ((happened >= begin) & (happened < end)).fill_null(value=False).to_numpy()
        part = FeatureArrays(self.arrays.numeric[is_chosen], self.arrays.categorical[is_chosen])
        without = personal_features(model.bundle.contract)
        sample = sample_of([part], model.bundle.feature_set, without, n_kept)
        return DecidedRows(self.frame.filter(is_chosen), sample)


def score_table_rows(
    source: str, model: MonitoredModel, scorer: Scorer, as_of: datetime | None
) -> ScoredTable:
    """Return every row of a table as the version decides it, labels as known at a moment.

    Args:
        source: Path or URI of the table; it is its own past.
        model: The version.
        scorer: Its scorer.
        as_of: The moment; default: the newest event time.

    Raises:
        DataError: If the table cannot be read, or does not fit the contract.
    """
    contract, table = model.bundle.contract, read_table(source)
    rows = conform(_wanted(table, contract), contract)
    rows = with_row_id(_labelled(rows, contract, as_of), contract)
    moment = as_of or newest_moment(rows, contract)
    scored = scorer.score_frame(with_past(rows, contract), with_reasons=False)
    return ScoredTable(_frame(rows, scored, model, moment), scored.arrays)


def table_spans(
    frame: pl.DataFrame,
    *,
    since: datetime | None,
    until: datetime | None,
    as_of: datetime | None,
    reference_days: float | None,
    maturity: timedelta,
) -> Spans | None:
    """Return which of a table's rows are looked at; None where rows carry no time.

    Raises:
        WindowUnusable: If a window is asked for and rows carry no time, or it is empty.
    """
    happened = frame["happened_at"].drop_nulls()
    if happened.is_empty():
        if since or until or reference_days:
            raise WindowUnusable(
                "The rows carry no event time: leave out --from, --to and reference.days."
            )
        return None
    oldest, newest = happened.min(), happened.max()
    assert isinstance(oldest, datetime)
    assert isinstance(newest, datetime)
    end = until or newest + timedelta(microseconds=1)
    begin = since or (oldest if reference_days is None else oldest + timedelta(days=reference_days))
    return make_spans(begin, end, as_of or newest, reference_days, maturity)


def make_spans(
    since: datetime,
    until: datetime,
    as_of: datetime,
    reference_days: float | None,
    maturity: timedelta,
) -> Spans:
    """Return the periods of a window.

    Raises:
        WindowUnusable: If it ends before it begins.
    """
    if since >= until:
        raise WindowUnusable(
            f"The window is empty: it begins at {since:%Y-%m-%d %H:%M} and ends at "
            f"{until:%Y-%m-%d %H:%M}. Give --from before --to."
        )
    before = None if reference_days is None else since - timedelta(days=reference_days)
    return Spans(since, until, as_of, before, until - maturity)


def short_past(frame: pl.DataFrame, spans: Spans | None, contract: Contract) -> str | None:
    """Return what to say where rows lack part of the past that their features look back to."""
    plan, oldest = velocity_plan(contract), frame["happened_at"].min()
    if not plan or spans is None or not isinstance(oldest, datetime):
        return None
    longest = max(feature.longest_window for feature in plan.features)
    held = (spans.reference_since or spans.since) - oldest
    if held >= longest:
        return None
    return (
        f"Features over time look back {format_duration(longest)}, and the table begins only "
        f"{max(held, timedelta()).days} days before the rows compared: what looks like a change of "
        "these features may be that. Give --from, or a table that begins earlier."
    )


def newest_moment(rows: pl.DataFrame, contract: Contract) -> datetime | None:
    """Return the newest event time; None without any."""
    column = contract.event_time_column
    newest = None if column is None else rows[column].max()
    return newest if isinstance(newest, datetime) else None


def _wanted(table: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    """Return what scoring reads, and the label and groups where they are there."""
    label, scored = contract.label, scored_columns(table, contract)
    more = (label.column, label.reported_at, label.key, *contract.columns.groups)
    names = [n for n in more if n in table.columns and n not in scored.columns]
    return scored.hstack(table.select(names)) if names else scored


def _labelled(rows: pl.DataFrame, contract: Contract, as_of: datetime | None) -> pl.DataFrame:
    if contract.label.source is None and contract.label.column not in rows.columns:
        return rows.with_columns(pl.lit(None, dtype=pl.Int8).alias(LABEL))
    return attach_labels(rows, contract, as_of=as_of, both_classes=False).frame


def _frame(
    rows: pl.DataFrame, scored: ScoredBatch, model: MonitoredModel, as_of: datetime | None
) -> pl.DataFrame:
    contract, n_rows = model.bundle.contract, rows.height
    time = contract.event_time_column
    happened = pl.Series([None], dtype=MOMENT).new_from_index(0, n_rows)
    if time is not None:
        happened = rows[time].cast(MOMENT)
    label = rows[LABEL]
    nothing = pl.Series([None], dtype=pl.Float64).new_from_index(0, n_rows)
    age, lag = nothing, nothing
    is_mature = pl.repeat(value=True, n=n_rows, eager=True)
    if time is not None and as_of is not None:
        age = (pl.Series([as_of], dtype=MOMENT) - happened).dt.total_microseconds()
        age = age.cast(pl.Float64) / _DAY_MICROSECONDS
        days = known_after(rows, contract).cast(pl.Float64) / _DAY_MICROSECONDS
        lag = days.zip_with(label.is_not_null(), nothing)
        is_mature = (age * _DAY_MICROSECONDS >= microseconds(contract.label.delay)).fill_null(
            value=False
        )
    frame = pl.DataFrame(
        {
            "row_id": rows["row_id"],
            "happened_at": happened,
            "risk_score": scored.risk_score,
            "decision": scored.decision,
            "is_explored": pl.repeat(value=False, n=n_rows, eager=True),
            "is_degraded": pl.repeat(value=False, n=n_rows, eager=True),
            "model_version": pl.repeat(model.model_version, n_rows, eager=True),
            "policy_version": pl.repeat(model.policy_version, n_rows, eager=True),
            "label": label,
            "is_mature": is_mature,
            "is_positive": (label == 1).fill_null(value=False),
            "known_after": lag,
            "age": age,
            "weight": pl.repeat(1.0, n_rows, eager=True),
        },
        schema=DECIDED | KNOWN,
    )
    return frame.with_columns(
        _segment(name, rows, scored, model).alias(f"{SEGMENT}{name}") for name in model.segments
    )


def _segment(
    name: str, rows: pl.DataFrame, scored: ScoredBatch, model: MonitoredModel
) -> pl.Series:
    """Return a segment's texts: of the table where it has the column, or as it was derived."""
    if name in rows.columns:
        return segment_text(rows[name])
    place = model.bundle.feature_set.numeric.index(name)
    return segment_text(pl.Series(scored.arrays.numeric[:, place]))

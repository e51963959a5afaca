"""Replayed rows through the real scoring path, and what is reported of them when it is due."""

import polars as pl

from features.online.events import microseconds_of
from replay_evidence.streams import Stream
from serving.in_process import InProcessService
from serving.reported_labels import ReportedLabel

REPORTED_AS = "reported as"
"""What a label names its row by: the contract's id, or the decision's where it has none."""


def decide(service: InProcessService, rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows with what the service said of each: score, decision, and its name."""
    answers = service.decide(rows)
    return rows.with_columns(
        pl.Series(REPORTED_AS, [each.id or each.decision_id for each in answers]),
        pl.Series("risk_score", [each.risk_score for each in answers]),
        pl.Series("decision", [each.decision for each in answers]),
    )


def report_labels(service: InProcessService, stream: Stream, decided: pl.DataFrame) -> int:
    """Report what becomes known of decided rows, and return how much that is.

    Where the absence of a report says that a row was genuine, reports are of positives and of
    those who were declined; elsewhere of all. Each is dated when the delay is over.
    """
    label = stream.contract.label
    is_declined = pl.col("decision") == "decline"
    is_told = stream.is_positive | is_declined if label.absent_means else pl.lit(value=True)
    if stream.acts:
        is_told &= ~is_declined
    told = decided.filter(is_told).select(
        REPORTED_AS, pl.col(stream.time) + label.delay, stream.is_positive.cast(pl.Int64)
    )
    reports = [
        ReportedLabel(name, positive, microseconds_of(moment), "replay")
        for name, moment, positive in told.iter_rows()
    ]
    service.take_labels(reports)
    return len(reports)

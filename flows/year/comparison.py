"""Three ways to run the same year, on the same rows: retrained, never retrained, and the oracle's.

The rows are those that the service decided, with the features that it served, and with all labels
that the year ever got. What was really decided is the retrained model's part. The other two decide
the same rows with their own policies; the oracle's model of each month was trained like the others,
with every label known at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from balancing.calibration.thresholds import APPROVE, DECISION_NAMES
from balancing.metrics.intervals import Interval, paired_difference
from balancing.metrics.proportions import count_interval, share_interval
from balancing.metrics.ranking import average_precision_of
from balancing.metrics.realised_performance import realised_performance
from features.ingestion.conforming import conform
from flows.past_rows import scored_columns, with_past
from flows.year.world import NEW_FRAUD_CODE
from serving.scorer import Scorer

RETRAINED, FROZEN, ALL_KNOWING = "retrained", "never retrained", "oracle"
WAYS = (RETRAINED, FROZEN, ALL_KNOWING)

_SCORE, _ALERT = "score of {}", "alert of {}"


@dataclass(frozen=True, slots=True)
class MonthFigures:
    """What one way achieved in one month, on all of its rows.

    Attributes:
        month: From 1.
        way: One of ``WAYS``.
        rows: Decided.
        positives: Frauds among them.
        average_precision: Of its scores.
        recall: Share of the frauds that were reviewed or declined.
        precision: Share of frauds among what was.
        alerts_per_day: Rows reviewed or declined.
        new_frauds: Of the kind that appeared during the year.
        new_frauds_caught: Those that were reviewed or declined.
        new_fraud_recall: Their share; None before there are any.
    """

    month: int
    way: str
    rows: int
    positives: int
    average_precision: Interval
    recall: Interval
    precision: Interval
    alerts_per_day: Interval
    new_frauds: int
    new_frauds_caught: int
    new_fraud_recall: Interval | None


@dataclass(frozen=True, slots=True)
class Gain:
    """What retraining was worth, on rows that both ways decided.

    Attributes:
        what: Which rows.
        against: The other way.
        average_precision: The retrained model's less the other's.
        recall: Likewise.
    """

    what: str
    against: str
    average_precision: Interval
    recall: Interval


def decided_rows(
    served: Path, scenarios: pl.DataFrame, deciders: Mapping[int, Mapping[str, Scorer]]
) -> pl.DataFrame:
    """Return every row with what each way says of it.

    Args:
        served: The rows that were served, as ``dataset build`` writes them, with all labels.
        scenarios: ``TRANSACTION_ID`` and ``TX_FRAUD_SCENARIO`` of the stream.
        deciders: Who decides the rows of each month the ways that were not served.

    Shape:
        In order of time: ``month``, ``label``, ``scenario``, and of each way its score and
        whether the row is an alert.
    """
    rows = pl.read_parquet(served).with_columns(month=pl.col("TX_DATETIME").dt.month())
    key = scenarios.with_columns(pl.col("TRANSACTION_ID").cast(pl.String))
    rows = rows.join(key, on="TRANSACTION_ID", how="left", maintain_order="left")
    return pl.concat(
        part.select(
            "month",
            pl.col("TX_FRAUD").cast(pl.Int8).alias("label"),
            pl.col("TX_FRAUD_SCENARIO").alias("scenario"),
            pl.col("risk_score").cast(pl.Float64).alias(_SCORE.format(RETRAINED)),
            (pl.col("decision") != DECISION_NAMES[APPROVE]).alias(_ALERT.format(RETRAINED)),
            *(
                series
                for way, scorer in deciders[int(month)].items()
                for series in _said(part, way, scorer)
            ),
        )
        for (month,), part in rows.partition_by("month", as_dict=True, maintain_order=True).items()
    )


def _said(part: pl.DataFrame, way: str, scorer: Scorer) -> tuple[pl.Series, pl.Series]:
    """Return scores and alerts of one way on rows that bring their features over time."""
    contract = scorer.bundle.contract
    rows = with_past(conform(scored_columns(part, contract), contract), contract)
    scored = scorer.score_frame(rows, with_reasons=False)
    return (
        pl.Series(_SCORE.format(way), scored.risk_score),
        pl.Series(_ALERT.format(way), scored.decision != APPROVE),
    )


def monthly_figures(rows: pl.DataFrame, days: Mapping[int, int]) -> list[MonthFigures]:
    """Return every way's figures of every month, with 95 % intervals.

    Args:
        rows: Of :func:`decided_rows`.
        days: Days of each month.
    """
    return [
        _figures(part, int(month), way, days[int(month)])
        for (month,), part in rows.partition_by("month", as_dict=True, maintain_order=True).items()
        for way in WAYS
    ]


def _figures(part: pl.DataFrame, month: int, way: str, n_days: int) -> MonthFigures:
    label = part["label"].to_numpy()
    is_alert = part[_ALERT.format(way)].to_numpy()
    found = realised_performance(label, part[_SCORE.format(way)].to_numpy(), is_alert)
    alerts = count_interval(int(is_alert.sum()))
    a_day = (alerts.value / n_days, alerts.low / n_days, alerts.high / n_days)
    is_new = (part["scenario"] == NEW_FRAUD_CODE).to_numpy()
    return MonthFigures(
        month=month,
        way=way,
        rows=part.height,
        positives=int(label.sum()),
        average_precision=found.average_precision,
        recall=found.recall,
        precision=found.precision,
        alerts_per_day=Interval(*a_day),
        new_frauds=int(is_new.sum()),
        new_frauds_caught=int(is_alert[is_new].sum()),
        new_fraud_recall=share_interval(is_alert[is_new]) if is_new.any() else None,
    )


def gains(rows: pl.DataFrame, periods: Mapping[str, range]) -> list[Gain]:
    """Return what retraining gains over each other way in some periods.

    Args:
        rows: Of :func:`decided_rows`.
        periods: Months by what they are called.
    """
    return [
        _gain(rows.filter(pl.col("month").is_in(list(months))), what, against)
        for what, months in periods.items()
        for against in (FROZEN, ALL_KNOWING)
    ]


def _gain(rows: pl.DataFrame, what: str, against: str) -> Gain:
    label = rows["label"].to_numpy()
    own, other = (rows[_SCORE.format(way)].to_numpy() for way in (RETRAINED, against))
    is_fraud = label == 1
    caught, caught_by_other = (
        rows[_ALERT.format(way)].to_numpy()[is_fraud].astype(np.float64)
        for way in (RETRAINED, against)
    )
    return Gain(
        what=what,
        against=against,
        average_precision=paired_difference(label, own, other, average_precision_of),
        recall=mean_interval(caught - caught_by_other),
    )


def mean_interval(values: Any) -> Interval:
    """Return the mean of paired differences, with the ends of its normal 95 % interval."""
    mean = float(np.mean(values))
    margin = 1.96 * float(np.std(values, ddof=1)) / len(values) ** 0.5
    return Interval(mean, mean - margin, mean + margin)

"""Decided rows as monitoring sees them, wherever they come from: one table, and their features."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

from balancing.calibration.policy import Policy
from flows.monitoring.feature_sample import FeatureSample
from serving.bundle import ModelBundle
from serving.model_store import ModelStore

MOMENT = pl.Datetime("us", "UTC")
SEGMENT = "segment:"
"""What a segment's column is called by, before the name of the contract's column."""

DECIDED: dict[str, Any] = {
    "row_id": pl.String,
    "happened_at": MOMENT,
    "risk_score": pl.Float64,
    "decision": pl.Int8,
    "is_explored": pl.Boolean,
    "is_degraded": pl.Boolean,
    "model_version": pl.String,
    "policy_version": pl.String,
}
"""``decision``: 0 approve, 1 review, 2 decline, as it would be without exploration."""

KNOWN: dict[str, Any] = {
    "label": pl.Int8,
    "is_mature": pl.Boolean,
    "is_positive": pl.Boolean,
    "known_after": pl.Float64,
    "age": pl.Float64,
    "weight": pl.Float64,
}
"""``label``: of rows old enough to be judged, which ``is_mature`` says; ``is_positive``: known to
be, however young; ``known_after`` and ``age``: days from the event to the label, and to the moment
of knowledge; ``weight``: how many rows it stands for where declined rows were explored."""


@dataclass(frozen=True, slots=True)
class MonitoredModel:
    """The version whose work is looked at, and what it is told by.

    Attributes:
        segments: Columns to tell apart.
    """

    store: ModelStore
    bundle: ModelBundle
    policy: Policy
    name: str
    model_version: str
    policy_version: str
    segments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Spans:
    """Which rows are read, by the time that they happened.

    Attributes:
        since: Begin of the window.
        until: Its end; rows at that moment are not in it.
        as_of: The moment whose knowledge of labels counts.
        reference_since: Begin of the rows that the window is held against, which end where it
            begins; None where these are others.
        maturity_since: From when on reports are looked at.
    """

    since: datetime
    until: datetime
    as_of: datetime
    reference_since: datetime | None
    maturity_since: datetime

    @property
    def begin(self) -> datetime:
        """The oldest moment of any row that is read."""
        moments = (self.since, self.reference_since, self.maturity_since)
        return min(each for each in moments if each is not None)


@dataclass(frozen=True, slots=True)
class DecidedRows:
    """Rows of a period.

    Attributes:
        frame: The columns of :data:`DECIDED` and :data:`KNOWN`, and one a segment.
        features: What they hold; None where nobody kept it.
        n_without_features: Rows whose features take no part: decided without their past, or by a
            version that is gone.
    """

    frame: pl.DataFrame
    features: FeatureSample | None
    n_without_features: int = 0


def segment_text(values: pl.Series) -> pl.Series:
    """Return a column's values as texts that are alike wherever the rows come from.

    Example:
        >>> segment_text(pl.Series([1.0, 2.5, None])).to_list()
        ['1', '2.5', None]
    """
    if values.dtype == pl.String:
        return values
    numbers = values.cast(pl.Float64).fill_nan(None)
    distinct = numbers.unique().drop_nulls()
    words = pl.Series([f"{number:g}" for number in distinct], dtype=pl.String)
    return numbers.replace_strict(distinct, words, default=None, return_dtype=pl.String)

"""Which rows judge a challenger, and what both versions say of them.

No row judges that a network or a policy of either version was fitted, stopped or calibrated on,
and none whose label was not known at the moment that counts. Each version scores with its own
features and decides with its own policy, as in the service.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from balancing.calibration.thresholds import DECLINE
from balancing.metrics.cells import FloatArray
from balancing.metrics.proportions import share_of
from features.contract import Contract
from features.derived import derive
from features.feature_table import with_reserved_columns
from features.ingestion.tables import DataFingerprint
from features.labels import LABEL
from flows.decided_rows import with_decisions
from flows.gate.clusters import cluster_of
from flows.gate.contenders import Contender
from flows.gate.tables import JudgedTable, read_judged_tables
from flows.impact_figures import NEW, OLD
from flows.recalibration import minor_units_of
from serving.scorer import Scorer

IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Period:
    """Which rows are asked for.

    Attributes:
        as_of: The moment whose knowledge of labels counts; None for the newest event time.
        since: Rows from then on; None for no bound but the cut-offs.
        until: Rows before then.
    """

    as_of: datetime | None
    since: datetime | None
    until: datetime | None


@dataclass(frozen=True, slots=True)
class JudgedRows:
    """Rows that neither version has seen, as both decide them.

    Attributes:
        frame: One line a row, labelled or not: ``row_id``, ``event_time``, ``label``, ``amount``
            (major units), ``amount_minor``, ``cluster`` (equal where rows belong together), the
            shown columns, and for ``old`` (the champion) and ``new`` what
            :func:`flows.decided_rows.with_decisions` adds.
        cut_off: Rows count from after this moment; None where nobody can tell it.
        as_of: The moment whose knowledge of labels counts.
        left_out: How many rows of the tables take no part, by reason.
        sources: What identifies the tables.
        shown_columns: Columns that tell segments and groups apart.
        log_coverage: Share of the decision log's rows, and of its declines, that the tables hold;
            None where they are no rows of a log.
    """

    frame: pl.DataFrame
    cut_off: datetime | None
    as_of: datetime | None
    left_out: dict[str, int]
    sources: tuple[DataFingerprint, ...]
    shown_columns: tuple[str, ...]
    log_coverage: dict[str, float | None] | None

    @property
    def labelled(self) -> pl.DataFrame:
        """The rows whose label is known: those that judge."""
        return self.frame.filter(pl.col(LABEL).is_not_null())

    @property
    def coverage(self) -> dict[str, float | None]:
        """What the labelled rows cover: their share of all rows, and of the champion's declines."""
        is_known = self.frame[LABEL].is_not_null()
        is_declined = (
            self.frame[f"{OLD}_decision"] == DECLINE
            if f"{OLD}_decision" in self.frame.columns
            else pl.Series([False] * self.frame.height, dtype=pl.Boolean)
        )
        return {
            "rows": share_of(int(is_known.sum()), self.frame.height),
            "declines": share_of(int((is_known & is_declined).sum()), int(is_declined.sum())),
        }


def judged_rows(
    champion: Contender, challenger: Contender, data: Sequence[str], period: Period
) -> JudgedRows:
    """Return the rows of some tables that may judge, scored and decided by both.

    The tables together are their own past: features over time of a row see every earlier row.

    Args:
        champion: The one that answers.
        challenger: The one that would.
        data: Paths or URIs of tables of one kind.
        period: Which rows, and as of when.

    Raises:
        DataError: If a table cannot be read, or does not fit one of the contracts.
        UnscorableRow: If a row holds a number that no network can work with.
    """
    contract = challenger.scorer.bundle.contract
    table = read_judged_tables(data, champion.scorer.bundle.contract, contract)
    shown = _shown_columns(champion, challenger, table.rows)
    cut_off = _later(champion.seen_until, challenger.seen_until)
    labelled = table.labelled(contract, period.as_of)
    time = contract.event_time_column
    moments = labelled.frame[time] if time is not None else None
    judges = newer_rows(moments, labelled.frame.height, cut_off, period, labelled.as_of)
    frame = _described(labelled.frame.filter(judges), contract, shown)
    left_out = {
        "there more than once": table.repeats,
        "seen by one of both, or outside the period": table.rows.height - frame.height,
        "without a label that was known": int(frame[LABEL].null_count()),
    }
    if frame.height:
        features = _Features(table, judges)
        for which, scorer in ((OLD, champion.scorer), (NEW, challenger.scorer)):
            rows = features.of(scorer.bundle.contract)
            frame = _decided(frame, table.scorer(scorer), which, rows)
    return JudgedRows(
        frame, cut_off, labelled.as_of, left_out, table.sources, shown, table.log_coverage
    )


def newer_rows(
    moments: pl.Series | None,
    n_rows: int,
    cut_off: datetime | None,
    period: Period,
    as_of: datetime | None,
) -> pl.Series:
    """Return which rows neither version has seen and the period holds, ``(n_rows,)`` Boolean.

    None does where nobody can tell what was seen, or rows carry no time.

    Args:
        moments: Event times; None where rows carry none.
        n_rows: How many rows there are.
        cut_off: The newest moment that a version has seen.
        period: What is asked for.
        as_of: Rows that happened after it are not known yet.
    """
    if moments is None or cut_off is None:
        return pl.repeat(value=False, n=n_rows, eager=True)
    is_newer = moments > cut_off
    if period.since is not None:
        is_newer &= moments >= period.since
    if period.until is not None:
        is_newer &= moments < period.until
    if as_of is not None:
        is_newer &= moments <= as_of
    return is_newer.fill_null(value=False)


def scores_of(rows: pl.DataFrame) -> tuple[IntArray, FloatArray, FloatArray]:
    """Return labels and both scores of labelled rows, the champion's first, ``(n_rows,)`` each."""
    return (
        rows[LABEL].to_numpy().astype(np.int64),
        rows[f"{OLD}_score"].to_numpy(),
        rows[f"{NEW}_score"].to_numpy(),
    )


class _Features:
    """The rows of a table that judge, with the features of one contract or another."""

    def __init__(self, table: JudgedTable, judges: pl.Series) -> None:
        self._table = table
        self._judges = judges
        self._ready: dict[str, pl.DataFrame] = {}

    def of(self, contract: Contract) -> pl.DataFrame:
        """Return the rows; contracts that mean the same data share their features."""
        key = contract.data_hash()
        if key not in self._ready:
            self._ready[key] = self._table.with_features(contract).filter(self._judges)
        return self._ready[key]


def _decided(
    frame: pl.DataFrame, scorer: Scorer, which: str, features: pl.DataFrame
) -> pl.DataFrame:
    scored = scorer.score_frame(features, with_reasons=False)
    return with_decisions(
        frame,
        scorer.policy,
        which,
        score=scored.risk_score,
        decision=scored.decision,
        amount_minor=scored.amount_minor,
        segment=scored.segment,
    )


def _described(rows: pl.DataFrame, contract: Contract, shown: Sequence[str]) -> pl.DataFrame:
    rows = derive(with_reserved_columns(rows, contract), contract)
    amount = (pl.col("amount_minor") / minor_units_of(contract)).alias("amount")
    texts = [pl.col(name).cast(pl.String) for name in shown]
    described = rows.select(
        "row_id", "event_time", LABEL, "amount_minor", amount, cluster_of(rows, contract), *texts
    )
    if contract.columns.id in contract.columns.pii:
        described = described.with_columns(row_id=pl.int_range(pl.len()).cast(pl.String))
    return described


def _shown_columns(
    champion: Contender, challenger: Contender, table: pl.DataFrame
) -> tuple[str, ...]:
    """Return the columns that segments and groups go by, as far as the rows have them."""
    contract = challenger.scorer.bundle.contract
    named = (
        *champion.scorer.policy.segment_columns,
        *challenger.scorer.policy.segment_columns,
        *contract.policy.segments,
        *contract.columns.groups,
    )
    there = {*table.columns, *contract.derived}
    return tuple(dict.fromkeys(name for name in named if name in there))


def _later(one: datetime | None, other: datetime | None) -> datetime | None:
    return None if one is None or other is None else max(one, other)

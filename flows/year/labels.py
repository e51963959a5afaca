"""How the truth of the simulated year comes in: late, as reports of what has been decided."""

from datetime import datetime, timedelta

import polars as pl

from features.online.events import microseconds_of
from serving.reported_labels import ReportedLabel

CHARGEBACK, CARDHOLDER = "chargeback", "cardholder"


class LabelDesk:
    """Knows what will be reported of which transaction, and when.

    A fraud is reported when the stream says so. Of a payment that went through and was genuine
    nobody says anything. Who owns a declined card is asked, and has answered some days later: so
    that labels of declined rows are known, too.

    Args:
        stream: Transactions with ``TRANSACTION_ID``, ``TX_DATETIME``, ``TX_FRAUD``,
            ``REPORTED_AT``.
        asked_days: After how many days the owner of a declined card has answered.
    """

    def __init__(self, stream: pl.DataFrame, *, asked_days: int) -> None:
        frauds = stream.filter(pl.col("TX_FRAUD") == 1)
        self._frauds = frauds.select("TRANSACTION_ID", "REPORTED_AT").sort("REPORTED_AT")
        self._genuine = stream.filter(pl.col("TX_FRAUD") == 0).select(
            "TRANSACTION_ID", "TX_DATETIME"
        )
        self._asked = timedelta(days=asked_days)
        self._declined: list[pl.DataFrame] = []

    def note(self, decisions: pl.DataFrame) -> None:
        """Remember whom to ask: ``TRANSACTION_ID`` and ``decision`` of rows just decided."""
        declined = decisions.filter(pl.col("decision") == "decline")
        asked = declined.join(self._genuine, on="TRANSACTION_ID", maintain_order="left")
        answered = pl.col("TX_DATETIME") + self._asked
        self._declined.append(asked.select("TRANSACTION_ID", REPORTED_AT=answered))

    def due(self, since: datetime, until: datetime) -> list[ReportedLabel]:
        """Return what is reported in ``[since, until)``, in order of time.

        Declines of that time must have been noted, unless they answer later than ``until``.
        """
        is_due = pl.col("REPORTED_AT").is_between(since, until, closed="left")
        frauds = self._frauds.filter(is_due).with_columns(label=1, source=pl.lit(CHARGEBACK))
        genuine = [part.filter(is_due) for part in self._declined]
        asked = (part.with_columns(label=0, source=pl.lit(CARDHOLDER)) for part in genuine)
        rows = pl.concat([frauds, *asked]).sort("REPORTED_AT", "TRANSACTION_ID")
        columns = ("TRANSACTION_ID", "label", "REPORTED_AT", "source")
        return [
            ReportedLabel(str(row_id), label, microseconds_of(moment), source)
            for row_id, label, moment, source in rows.select(columns).iter_rows()
        ]

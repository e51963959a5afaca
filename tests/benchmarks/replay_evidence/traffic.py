"""Replayed rows through the real scoring path and the decision log, in this process, no HTTP."""

from types import TracebackType
from typing import Self

import polars as pl

from features.online.events import microseconds_of
from infra.settings import Settings
from replay_evidence.streams import Stream
from serving.answers import Answer
from serving.decisions.opening import open_recording
from serving.outcomes import OutcomeBook
from serving.reported_labels import ReportedLabel
from serving.request_context import now_microseconds
from serving.requests import request_rows
from serving.served_models import ModelSource

_ROWS_AT_ONCE = 200
REPORTED_AS = "reported as"
"""What a label names its row by: the contract's id, or the decision's where it has none."""


class Traffic:
    """Decides rows with what is live, writes decisions down, and takes labels."""

    def __init__(self, settings: Settings, stream: Stream) -> None:
        self._stream = stream
        self._recording = open_recording(settings)
        self._source = ModelSource(settings.root, (stream.name,), recording=self._recording)
        self._book = OutcomeBook(settings.root)
        self._model = self._source.load(self._source.live()[stream.name])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._model.close()
        self._recording.log.close()

    @property
    def version(self) -> str:
        return self._model.scorer.model_version

    def follow(self) -> None:
        """Answer from now on with what is live."""
        before = self._model
        self._model = self._source.load(self._source.live()[self._stream.name], like=before)
        before.close()

    def decide(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return rows with what the service said of each: score, decision, and its name."""
        scorer = self._model.scorer
        contract, types = scorer.bundle.contract, scorer.bundle.feature_set.input_types
        answers: list[Answer] = []
        for part in rows.iter_slices(_ROWS_AT_ONCE):
            sent = request_rows(part, contract, types)
            for outcome in self._model.answer_rows(sent, places=range(part.height)):
                assert isinstance(outcome, Answer), outcome
                answers.append(outcome)
        return rows.with_columns(
            pl.Series(REPORTED_AS, [each.id or each.decision_id for each in answers]),
            pl.Series("risk_score", [each.risk_score for each in answers]),
            pl.Series("decision", [each.decision for each in answers]),
        )

    def take_labels(self, decided: pl.DataFrame) -> int:
        """Take what is reported of decided rows, and return how much that is.

        Where the absence of a report says that a row was genuine, reports are of positives and of
        those who were declined; elsewhere of all. Each is dated when the delay is over.
        """
        stream = self._stream
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
        self._book.take(
            self._model.scorer.bundle.contract,
            self._recording.log.secret,
            reports,
            feed=self._model.report_labels,
            now=now_microseconds(),
        )
        return len(reports)

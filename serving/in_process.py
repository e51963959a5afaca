"""The service without HTTP: the real scoring path and the decision log, in this process.

For simulations and replays, which decide more rows than anybody wants to send.
"""

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import polars as pl

from features.ingestion.conforming import conform
from infra.settings import Settings
from serving.answers import Answer
from serving.decisions.opening import open_recording
from serving.outcomes import OutcomeBook
from serving.refusals import RequestRefused
from serving.reported_labels import ReportedLabel, TakenLabels
from serving.request_context import now_microseconds
from serving.requests import request_rows
from serving.served_models import ModelSource

_ROWS_AT_ONCE = 200
_ATTEMPTS, _PAUSE_SECONDS = 20, 1.0


class RowRefused(RuntimeError):
    """Raised when a row gets no decision."""


class InProcessService:
    """Decides rows with what is live, writes decisions down, and takes labels.

    Args:
        settings: Where the state is.
        name: Of the model.
    """

    def __init__(self, settings: Settings, name: str) -> None:
        self._name = name
        self._recording = open_recording(settings)
        self._source = ModelSource(settings.root, (name,), recording=self._recording)
        self._book = OutcomeBook(settings.root)
        self._model = self._source.load(self._source.live()[name])

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
        """The version that answers."""
        return self._model.scorer.model_version

    def follow(self) -> None:
        """Answer from now on with what is live, as a service does that watches the live record."""
        wanted = self._source.live()[self._name]
        scorer = self._model.scorer
        if (wanted.model_version, wanted.policy_version) == (
            scorer.model_version,
            scorer.policy_version,
        ):
            return
        before, self._model = self._model, self._source.load(wanted, like=self._model)
        before.close()

    def decide(self, rows: pl.DataFrame) -> list[Answer]:
        """Return what the service answers to each row of a table, in order.

        Args:
            rows: In order of time; what a request does not carry is not read.

        Raises:
            RowRefused: If a row gets no decision.
        """
        model, contract = self._model, self._model.scorer.bundle.contract
        table = conform(rows.select(contract.request_columns), contract)
        types = model.scorer.bundle.feature_set.input_types
        return [
            answer
            for part in table.iter_slices(_ROWS_AT_ONCE)
            for answer in self._answers(request_rows(part, contract, types))
        ]

    def _answers(self, rows: Sequence[Mapping[str, Any]]) -> list[Answer]:
        """Return the answers to some rows; what may be sent again is, as clients do."""
        answers: dict[int, Answer] = {}
        for _ in range(_ATTEMPTS):
            left = [place for place in range(len(rows)) if place not in answers]
            outcomes = self._model.answer_rows([rows[place] for place in left], places=left)
            for place, outcome in zip(left, outcomes, strict=True):
                if isinstance(outcome, Answer):
                    answers[place] = outcome
                elif not isinstance(outcome, RequestRefused) or not outcome.retry:
                    raise RowRefused(str(outcome))
            if len(answers) == len(rows):
                return [answers[place] for place in range(len(rows))]
            time.sleep(_PAUSE_SECONDS)
        raise RowRefused(f"{len(rows) - len(answers)} rows got no answer in {_ATTEMPTS} attempts.")

    def take_labels(self, labels: Sequence[ReportedLabel]) -> TakenLabels:
        """Take reports as ``POST /v1/labels`` does."""
        contract = self._model.scorer.bundle.contract
        return self._book.take(
            contract,
            self._recording.log.secret,
            labels,
            feed=self._model.report_labels,
            now=now_microseconds(),
        )

"""Which decisions become rows, and why the others do not."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

from balancing.calibration.thresholds import DECISION_NAMES, DECLINE
from features.contract import Contract
from features.ingestion.timestamps import MOMENT as MOMENT_TYPE
from features.online.events import microseconds_of
from flows.datasets.columns import OpenedRow, RowColumns
from flows.datasets.coverage import DEGRADED, OTHER_FEATURES, UNREADABLE, Coverage
from flows.datasets.days import MOMENT, RECEIVED
from flows.datasets.knowledge import Decided, Known, LabelKnowledge, LabelValue
from flows.datasets.served_features import ServedFeatures
from serving.answers import Answer
from serving.decisions.chain import Group
from serving.decisions.record import StoredRecord, decoded_answer
from serving.decisions.store import DecisionStore
from serving.exploration import is_explored

DECLINED_DECISION = DECISION_NAMES[DECLINE]
ERASED = "__erased"
"""Whether somebody's key was destroyed: a column that is dropped in the end."""

_ROWS_AT_ONCE = 2_000


@dataclass(frozen=True, slots=True)
class Candidate:
    """A decision in the window.

    Attributes:
        opened: The row.
        answer: What the client was told.
        moment: When it happened, or came in where rows carry no time; microseconds. None where
            nobody can read it any more.
    """

    opened: OpenedRow
    answer: Answer
    moment: int | None

    @property
    def is_explored(self) -> bool:
        """Whether it was let through though the policy declined it."""
        return is_explored(self.answer.flags)

    @property
    def is_declined(self) -> bool:
        """Whether it was declined."""
        return self.answer.decision == DECLINED_DECISION


@dataclass(frozen=True, slots=True)
class Window:
    """Moments from ``since`` until before ``until``, and none after ``last``; microseconds."""

    since: int | None
    until: int | None
    last: int

    @classmethod
    def of(cls, since: datetime | None, until: datetime | None, as_of: datetime) -> "Window":
        """Return the window between moments."""
        return cls(
            None if since is None else microseconds_of(since),
            None if until is None else microseconds_of(until),
            microseconds_of(as_of),
        )

    def holds(self, moment: int) -> bool:
        """Return whether a moment lies within."""
        return (
            (self.since is None or self.since <= moment)
            and (self.until is None or moment < self.until)
            and moment <= self.last
        )


@dataclass(frozen=True, slots=True)
class Selection:
    """Makes rows of decisions.

    Attributes:
        model: The model that decided.
        contract: Its contract.
        label_values: How the contract writes the negative label and the positive one.
        window: Of event time.
        store: The log's database.
        columns: Of the contract's rows.
        served: Features over time.
        knowledge: The labels.
        coverage: Counts what is in and what is not.
    """

    model: str
    contract: Contract
    label_values: tuple[LabelValue, LabelValue]
    window: Window
    store: DecisionStore
    columns: RowColumns
    served: ServedFeatures
    knowledge: LabelKnowledge
    coverage: Coverage

    def frames(self, groups: Iterable[Group]) -> Iterator[pl.DataFrame]:
        """Yield the rows in groups, some at a time."""
        waiting: list[StoredRecord] = []
        for group in groups:
            waiting += [each for each in group.decoded() if each.model == self.contract.name]
            while len(waiting) >= _ROWS_AT_ONCE:
                yield self._frame(waiting[:_ROWS_AT_ONCE])
                waiting = waiting[_ROWS_AT_ONCE:]
        yield self._frame(waiting)

    def _frame(self, records: Sequence[StoredRecord]) -> pl.DataFrame:
        candidates = self._candidates(records)
        usable = [each for each in candidates if self._is_usable(each)]
        known = self.knowledge.of([self._decided(each) for each in usable])
        rows: list[Candidate] = []
        labels: list[Known] = []
        for each, label in zip(usable, known, strict=True):
            if isinstance(label, Known):
                rows.append(each)
                labels.append(label)
            else:
                self.coverage.left_out[label] += 1
        return self._as_frame(rows, labels)

    def _candidates(self, records: Sequence[StoredRecord]) -> list[Candidate]:
        """Return the model's decisions in the window."""
        found = []
        for opened in self.columns.opened(self.store, records):
            answer = decoded_answer(opened.stored.answer)
            if answer.model.name != self.model:
                continue
            moment = self._moment(opened)
            if moment is None or self.window.holds(moment):
                # Of one without a moment nobody can tell: it is counted, and left out.
                found.append(Candidate(opened, answer, moment))
        self.coverage.decided += len(found)
        self.coverage.declined += sum(each.is_declined for each in found)
        self.coverage.explored += sum(each.is_explored for each in found)
        return found

    def _moment(self, opened: OpenedRow) -> int | None:
        time = self.contract.event_time_column
        if time is None:
            return opened.stored.received_at
        found = opened.row.get(time)
        return None if found is None else microseconds_of(found)

    def _is_usable(self, candidate: Candidate) -> bool:
        opened = candidate.opened
        is_lost = opened.is_erased and self.columns.needs_sealed_features
        if not self.served.are_in(opened.stored):
            why = OTHER_FEATURES
        elif opened.stored.is_degraded and self.served.names:
            why = DEGRADED
        elif is_lost or candidate.moment is None:
            why = UNREADABLE
        else:
            return True
        self.coverage.left_out[why] += 1
        return False

    def _decided(self, candidate: Candidate) -> Decided:
        assert candidate.moment is not None, "without one it is not usable"
        names = self.columns.names_of(candidate.opened.stored)
        return Decided(names, candidate.moment, candidate.is_declined)

    def _as_frame(self, rows: Sequence[Candidate], labels: Sequence[Known]) -> pl.DataFrame:
        opened = [each.opened for each in rows]
        stored = [each.stored for each in opened]
        own: dict[str, Sequence[Any]] = {
            "decision_id": [each.decision_id for each in stored],
            "decision": [each.answer.decision for each in rows],
            "risk_score": [each.answer.risk_score for each in rows],
            "model_version": [each.model_version for each in stored],
            "policy_version": [each.policy_version for each in stored],
            "explored": [each.is_explored for each in rows],
            ERASED: [each.is_erased for each in opened],
        }
        moments: dict[str, list[Any]] = {
            MOMENT: [each.moment for each in rows],
            RECEIVED: [each.received_at for each in stored],
        }
        return pl.DataFrame(
            [
                *self.columns.series(opened),
                *self._label_columns(labels),
                *self.served.columns(stored, [each.personal for each in opened]),
                *(pl.Series(name, values, dtype=_OWN[name]) for name, values in own.items()),
                *(
                    pl.Series(name, values, dtype=pl.Int64).cast(MOMENT_TYPE)
                    for name, values in moments.items()
                ),
            ]
        )

    def _label_columns(self, labels: Sequence[Known]) -> list[pl.Series]:
        label, (negative, positive) = self.contract.label, self.label_values
        values = [positive if each.label else negative for each in labels]
        columns = [pl.Series(label.column, values, dtype=_LABEL_TYPES[type(positive)])]
        if label.reported_at is not None:
            reported = [each.reported_at for each in labels]
            columns.append(pl.Series(label.reported_at, reported, dtype=MOMENT_TYPE))
        return columns


_OWN: dict[str, Any] = {
    "decision_id": pl.String, "decision": pl.String, "risk_score": pl.Float64,
    "model_version": pl.String, "policy_version": pl.String, "explored": pl.Boolean,
    ERASED: pl.Boolean,
}  # fmt: skip
_LABEL_TYPES: dict[type, Any] = {
    bool: pl.Boolean, int: pl.Int64, float: pl.Float64, str: pl.String,
}  # fmt: skip

"""Rows of a request whose features look back in time: from the online state, and back to it.

In this order: read the state, features, score, decide, apply to the state, answer. A row that
was not decided never counts, and a row that was answered counts once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from features.contract import Contract
from features.durations import microseconds
from features.online.evaluator import VelocityEvaluator
from features.online.events import Event, EventReader, LabelReport
from features.online.overlay import BatchOverlay
from features.online.past import Past, entity_layouts
from features.online.state import (
    Applied,
    Clock,
    ClockSkewRefused,
    LabelCounts,
    OnlineState,
    SkewGuard,
    StateUnreachable,
    system_clock,
)
from features.velocity import velocity_plan
from serving.answers import Answer, answer, new_decision_id
from serving.batch_order import waves, with_repeats
from serving.prepared_rows import VelocityMatrix
from serving.refusals import RequestRefused
from serving.request_trace import finish_stage
from serving.requests import TypedRow
from serving.scored import ScoredRow
from serving.scorer import Scorer
from serving.shadow import Shadow, ShadowRow
from serving.state_link import StateLink

_DECLINE = "decline"


@dataclass(frozen=True, slots=True)
class _Arrival:
    """A row that may be decided: what it leaves behind, and what its answer is called."""

    row: TypedRow
    event: Event
    decision_id: str


@dataclass(frozen=True, slots=True)
class _Memory:
    """What the state knows of some arrivals.

    Attributes:
        pasts: The past of each; None where the state is away.
        known: What applying each would find.
    """

    pasts: list[Past] | None
    known: list[Applied | None]


_Outcome = Answer | RequestRefused


class OnlinePath:
    """Answers rows of one model with the help of its online state.

    Args:
        scorer: Of a contract with features over time.
        link: The way to the state of that contract.
        clock: The present moment, which events must not be too far ahead of.
    """

    def __init__(self, scorer: Scorer, link: StateLink, *, clock: Clock = system_clock) -> None:
        contract = scorer.bundle.contract
        plan = velocity_plan(contract)
        self._scorer = scorer
        self.link = link
        self.shadow: Shadow | None = None
        self._contract: Contract = contract
        self._plan = plan
        self._evaluator = VelocityEvaluator(plan)
        self._events = EventReader(contract)
        self._layouts = entity_layouts(plan)
        self._guard = SkewGuard(microseconds(contract.policy.max_clock_skew), clock)
        self._refuses = contract.policy.on_stall == "refuse"
        self._counts_declined = contract.policy.count_declined

    def answer_rows(self, rows: Sequence[TypedRow]) -> list[_Outcome]:
        """Return an answer or a refusal for each row, in order.

        A row sees the rows before it, as if they had been sent one by one.
        """
        outcomes: list[Any] = [self._arrive(row) for row in rows]
        places = [at for at, outcome in enumerate(outcomes) if isinstance(outcome, _Arrival)]
        if not places:
            return outcomes
        arrivals: list[_Arrival] = [outcomes[at] for at in places]
        try:
            decided = self._settled(arrivals)
        except StateUnreachable:
            decided = [_unavailable()] * len(arrivals)
        for at, outcome in zip(places, decided, strict=True):
            outcomes[at] = outcome
        return outcomes

    def report_labels(self, reports: Sequence[LabelReport]) -> LabelCounts:
        """Feed labels to the label rates.

        Raises:
            RequestRefused: With 400 if a report lies in the future, 503 if the state is away.
        """
        try:
            return self.link.ask(lambda state: state.report_labels(reports))
        except ClockSkewRefused as error:
            raise RequestRefused(
                "clock_skew", str(error), status=400, field="reported_at"
            ) from None
        except StateUnreachable:
            raise _unavailable() from None

    def _arrive(self, row: TypedRow) -> _Arrival | RequestRefused:
        decision_id = new_decision_id()
        own_id = row.get(self._contract.columns.id) if self._contract.columns.id else None
        event = self._events.read(row, own_id or decision_id)
        assert event is not None, "a request without its event time is refused when it is read"
        try:
            self._guard.check_events([event])
        except ClockSkewRefused as error:
            field = self._contract.event_time_column
            return RequestRefused("clock_skew", str(error), status=400, field=field)
        return _Arrival(row, event, decision_id)

    def _settled(self, arrivals: Sequence[_Arrival]) -> list[_Outcome]:
        """Decide arrivals and let those that count become the past of later rows."""
        memory = self._recall([arrival.event for arrival in arrivals])
        outcomes = self._decided(arrivals, memory)
        # The decision log's place: what is not written down must not count.
        counted = [at for at, outcome in enumerate(outcomes) if self._counts(outcome)]
        try:
            applied = self._apply([arrivals[at].event for at in counted])
        except StateUnreachable:
            applied, outcomes = [], _replaced(outcomes, counted, _unavailable())
        for at, what in zip(counted, applied, strict=False):
            outcomes[at] = self._after(outcomes[at], what)
        return outcomes

    def _recall(self, events: Sequence[Event]) -> _Memory:
        """Return what the state knows.

        Raises:
            StateUnreachable: If the state is away and the policy refuses then.
        """

        def question(state: OnlineState) -> _Memory:
            # Of a single row, applying it tells soon enough.
            known: list[Applied | None] = [None]
            if len(events) > 1:
                known = state.seen(events)
            return _Memory(state.past(events), known)

        try:
            memory = self.link.ask(question)
        except StateUnreachable:
            if self._refuses:
                raise
            memory = _Memory(None, [None] * len(events))
        finish_stage("state")
        return _Memory(memory.pasts, with_repeats(events, memory.known))

    def _decided(self, arrivals: Sequence[_Arrival], memory: _Memory) -> list[_Outcome]:
        outcomes: list[Any] = [_id_reused(self._contract)] * len(arrivals)
        fit = [at for at in range(len(arrivals)) if memory.known[at] is not Applied.CONFLICT]
        overlay = BatchOverlay(self._plan)
        for wave in self._waves(arrivals, fit):
            velocity = self._velocity(arrivals, wave, memory, overlay)
            scored = self._scorer.score_typed(
                [arrivals[at].row for at in wave],
                velocity,
                at_least_review=memory.pasts is None,
            )
            for at, row in zip(wave, scored, strict=True):
                outcomes[at] = self._answer(row, arrivals[at], is_degraded=memory.pasts is None)
                if not self._counts_declined and self._counts(outcomes[at]):
                    _lay_over(overlay, arrivals[at], memory.known[at])
            # Without the past there is nothing to compare.
            if self.shadow is not None and memory.pasts is not None:
                self.shadow.offer(
                    [
                        ShadowRow(arrivals[at].decision_id, arrivals[at].row, over_time)
                        for at, over_time in zip(wave, velocity, strict=True)
                        if isinstance(outcomes[at], Answer)
                    ]
                )
        return outcomes

    def _waves(self, arrivals: Sequence[_Arrival], fit: Sequence[int]) -> list[list[int]]:
        """Return rows that can be scored together; where declined rows do not count, rows wait."""
        if not fit or self._counts_declined:
            return [list(fit)] if fit else []
        events = [arrivals[at].event for at in fit]
        return [[fit[at] for at in wave] for wave in waves(events, self._layouts)]

    def _velocity(
        self,
        arrivals: Sequence[_Arrival],
        wave: Sequence[int],
        memory: _Memory,
        overlay: BatchOverlay,
    ) -> VelocityMatrix:
        """Return the features over time of the rows of a wave, NaN where null."""
        if memory.pasts is None:
            return np.full((len(wave), len(self._plan.features)), np.nan)
        values = []
        for at in wave:
            event = arrivals[at].event
            past = overlay.extend(event, memory.pasts[at])
            values.append(self._evaluator.evaluate(event, past))
            if self._counts_declined and len(wave) > 1:
                _lay_over(overlay, arrivals[at], memory.known[at])
        return np.array(values, dtype=np.float64)

    def _answer(
        self, row: ScoredRow | RequestRefused, arrival: _Arrival, *, is_degraded: bool
    ) -> _Outcome:
        if isinstance(row, RequestRefused):
            return row
        return answer(row, self._scorer, decision_id=arrival.decision_id, is_degraded=is_degraded)

    def _counts(self, outcome: _Outcome) -> bool:
        if isinstance(outcome, RequestRefused):
            return False
        return self._counts_declined or outcome.decision != _DECLINE

    def _apply(self, events: Sequence[Event]) -> list[Applied | None]:
        """Apply events; where the state is away and the policy goes on, they are kept for it.

        Raises:
            StateUnreachable: If the state is away and the policy refuses then.
        """
        if not events:
            return []
        try:
            return list(self.link.ask(lambda state: state.apply(events)))
        except StateUnreachable:
            if self._refuses:
                raise
            self.link.keep(events)
            return [None] * len(events)
        finally:
            finish_stage("state")

    def _after(self, outcome: _Outcome, applied: Applied | None) -> _Outcome:
        if applied is Applied.CONFLICT:
            return _id_reused(self._contract)
        if applied is Applied.TOO_LATE and isinstance(outcome, Answer):
            # Some of what it looks back to has been dropped already.
            flag = f"too_late:{self._contract.event_time_column}"
            return msgspec.structs.replace(outcome, flags=(*outcome.flags, flag))
        return outcome


def _replaced(
    outcomes: Sequence[_Outcome], places: Sequence[int], refusal: RequestRefused
) -> list[_Outcome]:
    return [refusal if at in set(places) else outcome for at, outcome in enumerate(outcomes)]


def _lay_over(overlay: BatchOverlay, arrival: _Arrival, known: Applied | None) -> None:
    if known is None:
        overlay.add(arrival.event)


def _id_reused(contract: Contract) -> RequestRefused:
    return RequestRefused(
        "id_reused",
        "A row with this id but another content was decided before. Give each row its own id.",
        status=409,
        field=contract.columns.id,
    )


def _unavailable() -> RequestRefused:
    return RequestRefused(
        "state_unavailable",
        "The store of earlier events does not answer. Send the request again.",
        status=503,
        retry=True,
    )

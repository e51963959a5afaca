"""Rows of a request whose features look back in time: from the online state, and back to it.

In this order: read the state, features, score, decide, write down, apply to the state, answer. A
row that was not decided never counts, and a row that was answered counts once.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from features.contract import Contract
from features.durations import microseconds
from features.online.evaluator import VelocityEvaluator
from features.online.events import Event, EventReader, LabelReport
from features.online.overlay import BatchOverlay
from features.online.past import Past, entity_layouts
from features.online.state import (
    LATENESS,
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
from serving.answers import Answer, RepeatedAnswer, answer, new_decision_ids
from serving.batch_order import waves, with_repeats
from serving.decisions.recorder import Recorded, Recorder
from serving.event_feed import EventFeed
from serving.prepared_rows import VelocityMatrix
from serving.refusals import RequestRefused
from serving.request_trace import finish_stage, share_stages
from serving.requests import TypedRow
from serving.row_request import Outcome, RowRequest, first_due
from serving.scored import ScoredRow
from serving.scored_apart import scored_apart
from serving.scorer import Scorer
from serving.shadow import Shadow, ShadowRow
from serving.state_link import StateLink

_DECLINE = "decline"


@dataclass(frozen=True, slots=True)
class _Arrival:
    """A row that may be decided: what it leaves behind, and what its answer is called."""

    request: RowRequest
    event: Event
    decision_id: str

    @property
    def row(self) -> TypedRow:
        """The row, as the contract types it."""
        return self.request.row


@dataclass(frozen=True, slots=True)
class _Memory:
    """What the state knows of some arrivals.

    Attributes:
        pasts: The past of each; None where the state is away.
        known: What applying each would find.
    """

    pasts: list[Past] | None
    known: list[Applied | None]


@dataclass(frozen=True, slots=True)
class _Decision:
    """What was decided of an arrival."""

    scored: ScoredRow
    answer: Answer


class OnlinePath:
    """Answers rows of one model with the help of its online state.

    Args:
        scorer: Of a contract with features over time.
        link: The way to the state of that contract.
        recorder: Writes decisions down; without one they are answered right away.
        clock: The present moment, which events must not be too far ahead of.
    """

    one_by_one = True
    """A row sees all that were decided before it, and the state is asked once for a group."""

    def __init__(
        self,
        scorer: Scorer,
        link: StateLink,
        *,
        recorder: Recorder | None = None,
        clock: Clock = system_clock,
    ) -> None:
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
        self._retention = max((layout.horizon for layout in self._layouts), default=0)
        self._retention += microseconds(LATENESS)
        self._newest: int | None = None
        # Groups go one by one. The thread ends when nobody holds this path any more.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"rows of {contract.name}")
        self._guard = SkewGuard(microseconds(contract.policy.max_clock_skew), clock)
        self._refuses = contract.policy.on_stall == "refuse"
        self._counts_declined = contract.policy.count_declined
        self._feed = EventFeed(link, refuses=self._refuses)
        self.recorder = recorder

    @property
    def recorder(self) -> Recorder | None:
        """What writes decisions down; without it they are answered right away."""
        return self._recorder

    @recorder.setter
    def recorder(self, recorder: Recorder | None) -> None:
        self._recorder = recorder
        self._feed.marks = None if recorder is None else recorder.marks

    def decide(self, requests: Sequence[RowRequest]) -> list[Outcome]:
        """Return what becomes of each row, in order; blocks.

        A row sees the rows before it, as if they had been sent one by one.
        """
        finish_stage("queue")
        outcomes = self._arrivals(requests)
        at_hand = [at for at, outcome in enumerate(outcomes) if isinstance(outcome, _Arrival)]
        if not at_hand:
            return outcomes
        arrivals: list[_Arrival] = [outcomes[at] for at in at_hand]
        try:
            decided = self._settled(arrivals)
        except StateUnreachable:
            decided = [_unavailable()] * len(arrivals)
        for at, outcome in zip(at_hand, decided, strict=True):
            outcomes[at] = outcome
        share_stages()
        return outcomes

    async def decide_soon(self, requests: Sequence[RowRequest]) -> list[Outcome]:
        """Return what becomes of each row, in order, without blocking the event loop."""
        loop = asyncio.get_running_loop()
        work = partial(copy_context().run, self.decide, requests)
        return await loop.run_in_executor(self._thread, work)

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

    def close(self) -> None:
        """Apply what still waits for the state, and let go of it."""
        self._feed.close()

    def _arrivals(self, requests: Sequence[RowRequest]) -> list[Any]:
        """Return each row as an arrival, or what becomes of it right away."""
        earlier: Sequence[Recorded | None] = [None] * len(requests)
        if self.recorder is not None:
            earlier = self.recorder.earlier(requests)
        ids = new_decision_ids(len(requests))
        return [
            self._arrive(request, decision_id) if before is None else before.outcome
            for request, before, decision_id in zip(requests, earlier, ids, strict=True)
        ]

    def _arrive(self, request: RowRequest, decision_id: str) -> "_Arrival | RequestRefused":
        row = request.row
        own_id = row.get(self._contract.columns.id) if self._contract.columns.id else None
        event = self._events.read(row, own_id or decision_id)
        assert event is not None, "a request without its event time is refused when it is read"
        try:
            self._guard.check_events([event])
        except ClockSkewRefused as error:
            field = self._contract.event_time_column
            return RequestRefused("clock_skew", str(error), status=400, field=field)
        return _Arrival(request, event, decision_id)

    def _settled(self, arrivals: Sequence[_Arrival]) -> list[Outcome]:
        """Decide arrivals, write it down, and let those that count be the past of later rows."""
        memory = self._recall([arrival.event for arrival in arrivals])
        decisions = self._decided(arrivals, memory)
        share_stages()
        recorded = self._recorded(arrivals, decisions)
        # Without the past there is nothing to compare.
        if self.shadow is not None and memory.pasts is not None:
            self.shadow.offer(self._for_shadow(arrivals, decisions, recorded))
        counted = [at for at, each in enumerate(recorded) if self._counts(each.outcome)]
        outcomes: list[Outcome] = [each.outcome for each in recorded]
        events = [_under(arrivals[at].event, recorded[at], arrivals[at]) for at in counted]
        sequences = [recorded[at].sequence for at in counted]
        try:
            self._feed.apply(events, [sequence for sequence in sequences if sequence is not None])
        except StateUnreachable:
            for at in counted:
                outcomes[at] = _unavailable()
        return outcomes

    def _for_shadow(
        self,
        arrivals: Sequence[_Arrival],
        decisions: Sequence[_Decision | Exception],
        recorded: Sequence[Recorded],
    ) -> list[ShadowRow]:
        """Return the rows that this request decided, with what it knew of their past."""
        n_velocity = len(self._plan.features)
        rows = []
        for arrival, decision, each in zip(arrivals, decisions, recorded, strict=True):
            is_new = isinstance(each.outcome, Answer) and not isinstance(
                each.outcome, RepeatedAnswer
            )
            if is_new and isinstance(decision, _Decision):
                # They come last among the numeric features.
                numeric = np.frombuffer(decision.scored.numeric, dtype="<f4")
                rows.append(
                    ShadowRow(decision.answer.decision_id, arrival.row, numeric[-n_velocity:])
                )
        return rows

    def _recorded(
        self,
        arrivals: Sequence[_Arrival],
        decisions: Sequence[_Decision | Exception],
    ) -> list[Recorded]:
        """Write decisions down and return what their clients get."""
        recorder = self.recorder
        recorded: list[Recorded | None] = [None] * len(decisions)
        decided, places = [], []
        for at, (arrival, decision) in enumerate(zip(arrivals, decisions, strict=True)):
            if not isinstance(decision, _Decision):
                recorded[at] = Recorded(decision)
            elif recorder is None:
                recorded[at] = Recorded(decision.answer, arrival.decision_id)
            else:
                places.append(at)
                counts = self._counts(decision.answer)
                decided.append((arrival.request, decision.scored, decision.answer, counts))
        if recorder is not None and decided:
            entries = recorder.entries(decided)
            late = self._feed.when_late(
                [arrivals[at].event for at in places], [entry.draft.counts for entry in entries]
            )
            due = first_due([arrival.request for arrival in arrivals])
            for at, each in zip(places, recorder.append(entries, due, late), strict=True):
                recorded[at] = each
        return [each for each in recorded if each is not None]

    def _recall(self, events: Sequence[Event]) -> _Memory:
        """Return what the state knows.

        Raises:
            StateUnreachable: If the state is away and the policy refuses then.
        """

        def question(state: OnlineState) -> _Memory:
            # What the state refuses must not be written down first.
            known = state.seen(events)
            if self._newest is None:
                self._newest = state.newest()
            return _Memory(state.past(events), known)

        try:
            memory = self.link.ask(question)
            self._feed.state_answered()
        except StateUnreachable:
            if self._refuses:
                raise
            memory = _Memory(None, [None] * len(events))
        finish_stage("state")
        return _Memory(memory.pasts, with_repeats(events, memory.known))

    def _decided(
        self, arrivals: Sequence[_Arrival], memory: _Memory
    ) -> list[_Decision | Exception]:
        outcomes: list[Any] = [_id_reused(self._contract)] * len(arrivals)
        fit = [at for at in range(len(arrivals)) if memory.known[at] is not Applied.CONFLICT]
        overlay = BatchOverlay(self._plan)
        for wave in self._waves(arrivals, fit):
            velocity = self._velocity(arrivals, wave, memory, overlay)
            scored = scored_apart(
                self._scorer,
                [arrivals[at].row for at in wave],
                velocity,
                at_least_review=memory.pasts is None,
            )
            for at, row in zip(wave, scored, strict=True):
                decision = self._decision(row, arrivals[at], is_degraded=memory.pasts is None)
                outcomes[at] = decision
                counts = isinstance(decision, _Decision) and self._counts(decision.answer)
                if not self._counts_declined and counts:
                    _lay_over(overlay, arrivals[at], memory.known[at])
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

    def _decision(
        self, row: ScoredRow | Exception, arrival: _Arrival, *, is_degraded: bool
    ) -> _Decision | Exception:
        if not isinstance(row, ScoredRow):
            return row
        if self._is_too_late(arrival.event):
            # Some of what it looks back to has been dropped already.
            flag = f"too_late:{self._contract.event_time_column}"
            row = replace(row, flags=(*row.flags, flag))
        given = answer(row, self._scorer, decision_id=arrival.decision_id, is_degraded=is_degraded)
        return _Decision(row, given)

    def _is_too_late(self, event: Event) -> bool:
        newest = self._newest
        is_late = newest is not None and event.event_time < newest - self._retention
        self._newest = event.event_time if newest is None else max(newest, event.event_time)
        return is_late

    def _counts(self, outcome: Outcome) -> bool:
        if not isinstance(outcome, Answer):
            return False
        return self._counts_declined or outcome.decision != _DECLINE


def _under(event: Event, recorded: Recorded, arrival: _Arrival) -> Event:
    """Return the event under the decision that counts: an earlier one, if there is one."""
    is_named_by_decision = event.id == arrival.decision_id
    if is_named_by_decision and recorded.decision_id not in {None, arrival.decision_id}:
        return replace(event, id=str(recorded.decision_id))
    return event


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

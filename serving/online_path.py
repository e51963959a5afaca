"""Rows of a request whose features look back in time: from the online state, and back to it.

In this order: read the state, features, score, decide, write down, apply to the state, answer. A
row that was not decided never counts, and a row that was answered counts once.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from features.contract import Contract
from features.durations import microseconds
from features.online.events import Event, EventReader, LabelReport
from features.online.state import (
    Clock,
    ClockSkewRefused,
    LabelCounts,
    OnlineState,
    SkewGuard,
    StateUnreachable,
    system_clock,
)
from features.velocity import velocity_plan
from serving.answers import Answer, RepeatedAnswer, new_decision_ids
from serving.batch_order import with_repeats
from serving.decisions.recorder import Recorded, Recorder
from serving.event_feed import EventFeed
from serving.online_decisions import Arrival, Decision, Memory, OnlineDecider
from serving.refusals import RequestRefused
from serving.request_trace import finish_stage, share_stages
from serving.row_request import Outcome, RowRequest, first_due
from serving.scorer import Scorer
from serving.shadow import Shadow, ShadowRow
from serving.state_link import StateLink


class OnlinePath:
    """Answers rows of one model with the help of its online state.

    Args:
        scorer: Of a contract with features over time.
        link: The way to the state of that contract.
        recorder: Writes decisions down; without one they are answered right away.
        clock: The present moment, which events must not be too far ahead of.
    """

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
        self._decider = OnlineDecider(scorer)
        self.link = link
        self.shadow: Shadow | None = None
        self._contract: Contract = contract
        self._plan = plan
        self._events = EventReader(contract)
        # Groups go one by one. The thread ends when nobody holds this path any more.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"rows of {contract.name}")
        self._guard = SkewGuard(microseconds(contract.policy.max_clock_skew), clock)
        self._refuses = contract.policy.on_stall == "refuse"
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
        self._decider.explorer = None if recorder is None else recorder.explorer

    def decide(self, requests: Sequence[RowRequest]) -> list[Outcome]:
        """Return what becomes of each row, in order; blocks.

        A row sees the rows before it, as if they had been sent one by one.
        """
        outcomes = self._arrivals(requests)
        at_hand = [at for at, outcome in enumerate(outcomes) if isinstance(outcome, Arrival)]
        if not at_hand:
            return outcomes
        arrivals: list[Arrival] = [outcomes[at] for at in at_hand]
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
        work = partial(copy_context().run, self._decide_in_turn, requests)
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

    def _decide_in_turn(self, requests: Sequence[RowRequest]) -> list[Outcome]:
        finish_stage("queue")
        return self.decide(requests)

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

    def _arrive(self, request: RowRequest, decision_id: str) -> Arrival | RequestRefused:
        row = request.row
        own_id = row.get(self._contract.columns.id) if self._contract.columns.id else None
        event = self._events.read(row, own_id or decision_id)
        assert event is not None, "a request without its event time is refused when it is read"
        try:
            self._guard.check_events([event])
        except ClockSkewRefused as error:
            field = self._contract.event_time_column
            return RequestRefused("clock_skew", str(error), status=400, field=field)
        return Arrival(request, event, decision_id)

    def _settled(self, arrivals: Sequence[Arrival]) -> list[Outcome]:
        """Decide arrivals, write it down, and let those that count be the past of later rows."""
        memory = self._recall([arrival.event for arrival in arrivals])
        decisions = self._decider.decided(arrivals, memory)
        share_stages()
        recorded = self._recorded(arrivals, decisions)
        # Without the past there is nothing to compare.
        if self.shadow is not None and memory.pasts is not None:
            self.shadow.offer(self._for_shadow(arrivals, decisions, recorded))
        counted = [at for at, each in enumerate(recorded) if self._decider.counts(each.outcome)]
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
        arrivals: Sequence[Arrival],
        decisions: Sequence[Decision | Exception],
        recorded: Sequence[Recorded],
    ) -> list[ShadowRow]:
        """Return the rows that this request decided, with what it knew of their past."""
        n_velocity = len(self._plan.features)
        rows = []
        for arrival, decision, each in zip(arrivals, decisions, recorded, strict=True):
            is_new = isinstance(each.outcome, Answer) and not isinstance(
                each.outcome, RepeatedAnswer
            )
            if is_new and isinstance(decision, Decision):
                # They come last among the numeric features.
                numeric = np.frombuffer(decision.scored.numeric, dtype="<f4")
                rows.append(
                    ShadowRow(decision.answer.decision_id, arrival.row, numeric[-n_velocity:])
                )
        return rows

    def _recorded(
        self,
        arrivals: Sequence[Arrival],
        decisions: Sequence[Decision | Exception],
    ) -> list[Recorded]:
        """Write decisions down and return what their clients get."""
        recorder = self.recorder
        recorded: list[Recorded | None] = [None] * len(decisions)
        decided, places = [], []
        for at, (arrival, decision) in enumerate(zip(arrivals, decisions, strict=True)):
            if not isinstance(decision, Decision):
                recorded[at] = Recorded(decision)
            elif recorder is None:
                recorded[at] = Recorded(decision.answer, arrival.decision_id)
            else:
                places.append(at)
                counts = self._decider.counts(decision.answer)
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

    def _recall(self, events: Sequence[Event]) -> Memory:
        """Return what the state knows.

        Raises:
            StateUnreachable: If the state is away and the policy refuses then.
        """

        def question(state: OnlineState) -> Memory:
            # What the state refuses must not be written down first.
            known = state.seen(events)
            if self._decider.newest is None:
                self._decider.newest = state.newest()
            return Memory(state.past(events), known)

        try:
            memory = self.link.ask(question)
            self._feed.state_answered()
        except StateUnreachable:
            if self._refuses:
                raise
            memory = Memory(None, [None] * len(events))
        finish_stage("state")
        return Memory(memory.pasts, with_repeats(events, memory.known))


def _under(event: Event, recorded: Recorded, arrival: Arrival) -> Event:
    """Return the event under the decision that counts: an earlier one, if there is one."""
    is_named_by_decision = event.id == arrival.decision_id
    if is_named_by_decision and recorded.decision_id not in {None, arrival.decision_id}:
        return replace(event, id=str(recorded.decision_id))
    return event


def _unavailable() -> RequestRefused:
    return RequestRefused(
        "state_unavailable",
        "The store of earlier events does not answer. Send the request again.",
        status=503,
        retry=True,
    )

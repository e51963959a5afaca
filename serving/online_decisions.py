"""Deciding rows by what their entities did before: features from the past, scores, answers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from features.contract import Contract
from features.durations import microseconds
from features.online.evaluator import VelocityEvaluator
from features.online.events import Event
from features.online.overlay import BatchOverlay
from features.online.past import Past, entity_layouts
from features.online.state import LATENESS, Applied
from features.velocity import velocity_plan
from serving.answers import Answer, answer
from serving.batch_order import waves
from serving.decisions.refusals import id_reused
from serving.exploration import Explorer
from serving.prepared_rows import VelocityMatrix
from serving.requests import TypedRow
from serving.row_request import Outcome, RowRequest
from serving.scored import ScoredRow
from serving.scored_apart import scored_apart
from serving.scorer import Scorer

_DECLINE = "decline"


@dataclass(frozen=True, slots=True)
class Arrival:
    """A row that may be decided: what it leaves behind, and what its answer is called."""

    request: RowRequest
    event: Event
    decision_id: str

    @property
    def row(self) -> TypedRow:
        """The row, as the contract types it."""
        return self.request.row


@dataclass(frozen=True, slots=True)
class Memory:
    """What the state knows of some arrivals.

    Attributes:
        pasts: The past of each; None where the state is away.
        known: What applying each would find.
    """

    pasts: list[Past] | None
    known: list[Applied | None]


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided of an arrival.

    Attributes:
        scored: What the policy and the rules say.
        answer: What the client gets: the same, unless the row is explored.
    """

    scored: ScoredRow
    answer: Answer


class OnlineDecider:
    """Decides rows of one model; asks nobody, and changes nothing but what it remembers.

    Args:
        scorer: Of a contract with features over time.

    Attributes:
        newest: The newest event time seen so far; None before the first.
        explorer: Lets some declined rows through; None where none are.
    """

    def __init__(self, scorer: Scorer) -> None:
        contract = scorer.bundle.contract
        plan = velocity_plan(contract)
        self.newest: int | None = None
        self.explorer: Explorer | None = None
        self._scorer = scorer
        self._contract: Contract = contract
        self._plan = plan
        self._evaluator = VelocityEvaluator(plan)
        self._layouts = entity_layouts(plan)
        self._retention = max((layout.horizon for layout in self._layouts), default=0)
        self._retention += microseconds(LATENESS)
        self._counts_declined = contract.policy.count_declined

    def decided(self, arrivals: Sequence[Arrival], memory: Memory) -> list[Decision | Exception]:
        """Return the decision on each row, or why there is none.

        Args:
            arrivals: Each sees those before it, as if they had been sent one by one.
            memory: What the state knows of them.
        """
        outcomes: list[Any] = [id_reused(self._contract.columns.id)] * len(arrivals)
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
                counts = isinstance(decision, Decision) and self.counts(decision.answer)
                if not self._counts_declined and counts:
                    _lay_over(overlay, arrivals[at], memory.known[at])
        return outcomes

    def counts(self, outcome: Outcome) -> bool:
        """Return whether an answered row becomes part of its entities' past."""
        if not isinstance(outcome, Answer):
            return False
        return self._counts_declined or outcome.decision != _DECLINE

    def _waves(self, arrivals: Sequence[Arrival], fit: Sequence[int]) -> list[list[int]]:
        """Return rows that can be scored together; where declined rows do not count, rows wait."""
        if not fit or self._counts_declined:
            return [list(fit)] if fit else []
        events = [arrivals[at].event for at in fit]
        return [[fit[at] for at in wave] for wave in waves(events, self._layouts)]

    def _velocity(
        self,
        arrivals: Sequence[Arrival],
        wave: Sequence[int],
        memory: Memory,
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
        self, row: ScoredRow | Exception, arrival: Arrival, *, is_degraded: bool
    ) -> Decision | Exception:
        if not isinstance(row, ScoredRow):
            return row
        if self._is_too_late(arrival.event):
            # Some of what it looks back to has been dropped already.
            flag = f"too_late:{self._contract.event_time_column}"
            row = replace(row, flags=(*row.flags, flag))
        told = row
        if self.explorer is not None and not is_degraded:
            told = self.explorer.explored(arrival.request, row)
        given = answer(told, self._scorer, decision_id=arrival.decision_id, is_degraded=is_degraded)
        return Decision(row, given)

    def _is_too_late(self, event: Event) -> bool:
        newest = self.newest
        is_late = newest is not None and event.event_time < newest - self._retention
        self.newest = event.event_time if newest is None else max(newest, event.event_time)
        return is_late


def _lay_over(overlay: BatchOverlay, arrival: Arrival, known: Applied | None) -> None:
    if known is None:
        overlay.add(arrival.event)

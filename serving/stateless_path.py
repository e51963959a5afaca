"""Rows of a request whose features are their own: score, decide, write down, answer."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any

from serving.answers import Answer, RepeatedAnswer, answers
from serving.decisions.group_writer import Entry
from serving.decisions.recorder import Recorded, Recorder
from serving.request_trace import share_stages
from serving.row_request import Outcome, RowRequest, first_due
from serving.scored import ScoredRow
from serving.scored_apart import scored_apart
from serving.scorer import Scorer
from serving.shadow import Shadow, ShadowRow


@dataclass(slots=True)
class _Begun:
    """Rows that are decided, and not yet written down.

    Attributes:
        requests: The rows.
        outcomes: Of each.
        entries: What is to be written down.
        places: The rows that the entries are of.
    """

    requests: Sequence[RowRequest]
    outcomes: list[Outcome]
    entries: list[Entry] = field(default_factory=list)
    places: list[int] = field(default_factory=list)


class StatelessPath:
    """Answers rows of one model that has no features over time.

    Args:
        scorer: Of such a model.
        recorder: Writes decisions down; without one they are answered right away.

    Attributes:
        shadow: The challenger that scores the same rows beside it.
    """

    def __init__(self, scorer: Scorer, recorder: Recorder | None = None) -> None:
        self._scorer = scorer
        self.recorder = recorder
        self.shadow: Shadow | None = None

    def decide(self, requests: Sequence[RowRequest]) -> list[Outcome]:
        """Return what becomes of each row, in order; blocks until it is written down."""
        begun = self._begin(requests)
        recorded = []
        if self.recorder is not None:
            recorded = self.recorder.append(begun.entries, first_due(requests))
        return self._finish(begun, recorded)

    async def decide_soon(self, requests: Sequence[RowRequest]) -> list[Outcome]:
        """Return what becomes of each row, in order, without blocking the event loop."""
        begun = self._begin(requests)
        recorded = []
        if self.recorder is not None:
            recorded = await self.recorder.append_soon(begun.entries, first_due(requests))
        return self._finish(begun, recorded)

    def _begin(self, requests: Sequence[RowRequest]) -> _Begun:
        """Decide rows; nothing of it is written down yet.

        A repeated row is scored again, and found when it is written down: that costs less than to
        look each row up before.
        """
        scored = scored_apart(self._scorer, [request.row for request in requests])
        share_stages()
        outcomes: list[Any] = list(scored)
        places = [at for at, row in enumerate(scored) if isinstance(row, ScoredRow)]
        fit = [row for row in scored if isinstance(row, ScoredRow)]
        explorer = None if self.recorder is None else self.recorder.explorer
        told = fit
        if explorer is not None:
            told = [
                explorer.explored(requests[at], row) for at, row in zip(places, fit, strict=True)
            ]
        given = answers(told, self._scorer)
        for at, answer in zip(places, given, strict=True):
            outcomes[at] = answer
        if self.recorder is None:
            return _Begun(requests, outcomes)
        asked = [requests[at] for at in places]
        entries = self.recorder.entries(zip(asked, fit, given, repeat(False)))
        return _Begun(requests, outcomes, entries, places)

    def _finish(self, begun: _Begun, recorded: Sequence[Recorded]) -> list[Outcome]:
        """Return what clients get, once it is known what was written down."""
        share_stages()
        for at, each in zip(begun.places, recorded, strict=True):
            begun.outcomes[at] = each.outcome
        if self.shadow is not None:
            self.shadow.offer(
                [
                    ShadowRow(outcome.decision_id, request.row)
                    for request, outcome in zip(begun.requests, begun.outcomes, strict=True)
                    if isinstance(outcome, Answer) and not isinstance(outcome, RepeatedAnswer)
                ]
            )
        return begun.outcomes

"""One model as it answers: its scorer and, where features look back in time, its online state."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from features.online.events import LabelReport
from features.online.state import LabelCounts
from serving.answers import Answer, RepeatedAnswer, answer
from serving.decisions.group_writer import Entry
from serving.decisions.recorder import Recorded, Recorder
from serving.online_path import OnlinePath
from serving.refusals import RequestRefused
from serving.request_context import RequestContext
from serving.requests import TypedRow
from serving.scored import ScoredRow
from serving.scorer import Scorer
from serving.shadow import Shadow, ShadowRow
from serving.use_count import UseCount


class ServedModel:
    """Answers rows of requests.

    Args:
        scorer: A verified scorer.
        path: The way through the online state; None where no feature looks back in time.
        recorder: Writes decisions down; without one they are answered right away.
        let_go: Lets go of what the path goes through, where others may go through it too.

    Attributes:
        users: The requests that it answers: it is let go after the last one.
        loaded_at: When it was loaded and verified.
        shadow_refusal: Which challenger it has and why that scores nothing; None where it does.
    """

    def __init__(
        self,
        scorer: Scorer,
        path: OnlinePath | None = None,
        *,
        recorder: Recorder | None = None,
        let_go: Callable[[], None] | None = None,
    ) -> None:
        self.scorer = scorer
        self.path = path
        self.recorder = recorder
        if path is not None:
            path.recorder = recorder
        self.users = UseCount()
        self.loaded_at = datetime.now(UTC)
        self.shadow_refusal: dict[str, str] | None = None
        self._let_go = let_go
        self._shadow: Shadow | None = None

    @property
    def name(self) -> str:
        """The model's name."""
        return self.scorer.name

    @property
    def shadow(self) -> Shadow | None:
        """The challenger that scores the same rows beside it."""
        return self._shadow

    @shadow.setter
    def shadow(self, shadow: Shadow | None) -> None:
        self._shadow = shadow
        if self.path is not None:
            self.path.shadow = shadow

    @property
    def waits_for_state(self) -> bool:
        """Whether an answer takes more than arithmetic: a file or a server is read and written."""
        return self.path is not None

    def answer_rows(
        self,
        rows: Sequence[Mapping[str, Any]],
        context: RequestContext | None = None,
        places: Sequence[int] | None = None,
    ) -> list[Answer | RequestRefused]:
        """Return an answer or a refusal for each row of a request, in order; may block.

        Args:
            rows: As clients send them.
            context: Of the request; default: one that arrives now, from nobody in particular.
            places: Of the rows in their batch; None where one row came alone.

        Raises:
            RequestRefused: If the client's ``Idempotency-Key`` is no good.
        """
        context = context or RequestContext()
        outcomes: list[Any] = self.scorer.read_rows(rows)
        good = [at for at, outcome in enumerate(outcomes) if isinstance(outcome, dict)]
        if not good:
            return outcomes
        typed: list[TypedRow] = [outcomes[at] for at in good]
        of_good = None if places is None else [places[at] for at in good]
        if self.path is not None:
            decided = self.path.answer_rows(typed, context, of_good)
        else:
            begun = self._begin(typed, context, of_good)
            recorded = self.recorder.append(begun.entries, context) if self.recorder else []
            decided = self._finish(begun, recorded)
        for at, outcome in zip(good, decided, strict=True):
            outcomes[at] = outcome
        return outcomes

    async def answer_row_soon(
        self, row: Mapping[str, Any], context: RequestContext
    ) -> Answer | RequestRefused:
        """Return the answer to one row, or its refusal, without blocking the event loop.

        For models without a state only (:attr:`waits_for_state`).

        Raises:
            RequestRefused: If the client's ``Idempotency-Key`` is no good.
        """
        assert self.path is None, "a state is waited for on a thread"
        (typed,) = self.scorer.read_rows([row])
        if isinstance(typed, RequestRefused):
            return typed
        begun = self._begin([typed], context, None)
        recorded = []
        if self.recorder is not None:
            recorded = await self.recorder.append_soon(begun.entries, context)
        return self._finish(begun, recorded)[0]

    def report_labels(self, reports: Sequence[LabelReport]) -> LabelCounts:
        """Feed labels to the features that look back at them.

        Raises:
            RequestRefused: If the model has no such state, or it does not answer.
        """
        if self.path is None:
            raise RequestRefused(
                "no_online_state",
                f"Model {self.name} has no features over time: it takes no labels.",
                status=404,
            )
        return self.path.report_labels(reports)

    def close(self) -> None:
        """Let go of the online state."""
        if self._let_go is not None:
            self._let_go()
        elif self.path is not None:
            self.path.close()

    def _begin(
        self,
        rows: Sequence[TypedRow],
        context: RequestContext,
        places: Sequence[int] | None,
    ) -> "_Begun":
        """Decide rows; nothing of it is written down yet."""
        if self.recorder is None:
            return _Begun(rows, self._decided(rows))
        # A repeated row is scored again, and found when it is written down: that costs less than
        # to look each row up before.
        identities = self.recorder.identify(rows, context, places)
        begun = _Begun(rows, [])
        for at, scored in enumerate(self.scorer.score_typed(rows)):
            if isinstance(scored, RequestRefused):
                begun.outcomes.append(scored)
                continue
            given = answer(scored, self.scorer)
            begun.outcomes.append(given)
            begun.places.append(at)
            begun.entries.append(
                self.recorder.entry(identities[at], rows[at], scored, given, context)
            )
        return begun

    def _decided(self, rows: Sequence[TypedRow]) -> list[Answer | RequestRefused]:
        return [
            answer(row, self.scorer) if isinstance(row, ScoredRow) else row
            for row in self.scorer.score_typed(rows)
        ]

    def _finish(
        self, begun: "_Begun", recorded: Sequence[Recorded]
    ) -> list[Answer | RequestRefused]:
        """Return what clients get, once it is known what was written down."""
        for at, each in zip(begun.places, recorded, strict=True):
            begun.outcomes[at] = each.outcome
        if self._shadow is not None:
            self._shadow.offer(
                [
                    ShadowRow(outcome.decision_id, row)
                    for row, outcome in zip(begun.rows, begun.outcomes, strict=True)
                    if isinstance(outcome, Answer) and not isinstance(outcome, RepeatedAnswer)
                ]
            )
        return begun.outcomes


@dataclass(slots=True)
class _Begun:
    """Rows that are decided, and not yet written down.

    Attributes:
        rows: As the contract types them.
        outcomes: Of each.
        entries: What is to be written down.
        places: The rows that the entries are of.
    """

    rows: Sequence[TypedRow]
    outcomes: list[Answer | RequestRefused]
    entries: list[Entry] = field(default_factory=list)
    places: list[int] = field(default_factory=list)

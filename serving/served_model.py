"""One model as it answers: its scorer and, where features look back in time, its online state."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from features.online.events import LabelReport
from features.online.state import LabelCounts
from serving.answers import Answer, answer
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
        let_go: Callable[[], None] | None = None,
    ) -> None:
        self.scorer = scorer
        self.path = path
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
        context: RequestContext | None = None,  # noqa: ARG002 - the decision log reads it
    ) -> list[Answer | RequestRefused]:
        """Return an answer or a refusal for each row of a request, in order.

        Args:
            rows: As clients send them.
            context: Of the request; default: one that arrives now, from nobody in particular.
        """
        outcomes: list[Any] = self.scorer.read_rows(rows)
        places = [at for at, outcome in enumerate(outcomes) if isinstance(outcome, dict)]
        if places:
            decided = self._answer_typed([outcomes[at] for at in places])
            for at, outcome in zip(places, decided, strict=True):
                outcomes[at] = outcome
        return outcomes

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
            self.path.link.close()

    def _answer_typed(self, rows: Sequence[TypedRow]) -> list[Answer | RequestRefused]:
        if self.path is not None:
            return self.path.answer_rows(rows)
        scored = self.scorer.score_typed(rows)
        outcomes: list[Answer | RequestRefused] = [
            answer(row, self.scorer) if isinstance(row, ScoredRow) else row for row in scored
        ]
        if self._shadow is not None:
            self._shadow.offer(
                [
                    ShadowRow(outcome.decision_id, row)
                    for row, outcome in zip(rows, outcomes, strict=True)
                    if isinstance(outcome, Answer)
                ]
            )
        return outcomes

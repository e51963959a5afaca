"""One model as it answers: its scorer and, where features look back in time, its online state."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from features.online.events import LabelReport
from features.online.state import LabelCounts
from serving.decisions.recorder import Recorder
from serving.gathering import RowGatherer
from serving.online_path import OnlinePath
from serving.refusals import RequestRefused
from serving.request_context import RequestContext
from serving.row_request import Outcome, RowRequest
from serving.scorer import Scorer
from serving.shadow import Shadow
from serving.stateless_path import StatelessPath
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
        self._path = path or StatelessPath(scorer, recorder)
        self._gatherer = RowGatherer(self._decide_soon, one_by_one=self._path.one_by_one)
        self.users = UseCount()
        self.loaded_at = datetime.now(UTC)
        self.shadow_refusal: dict[str, str] | None = None
        self._let_go = let_go

    @property
    def name(self) -> str:
        """The model's name."""
        return self.scorer.name

    @property
    def shadow(self) -> Shadow | None:
        """The challenger that scores the same rows beside it."""
        return self._path.shadow

    @shadow.setter
    def shadow(self, shadow: Shadow | None) -> None:
        self._path.shadow = shadow

    @property
    def waits_for_state(self) -> bool:
        """Whether an answer takes more than arithmetic: a file or a server is read and written."""
        return self.path is not None

    def answer_rows(
        self,
        rows: Sequence[Mapping[str, Any]],
        context: RequestContext | None = None,
        places: Sequence[int] | None = None,
    ) -> list[Outcome]:
        """Return what becomes of each row of one request, in order; may block.

        Args:
            rows: As clients send them.
            context: Of the request; default: one that arrives now, from nobody in particular.
            places: Of the rows in their batch; None where one row came alone.

        Raises:
            RequestRefused: If the client's ``Idempotency-Key`` is no good.
        """
        outcomes: list[Any] = self._read(rows, context or RequestContext(), places)
        good = [at for at, outcome in enumerate(outcomes) if isinstance(outcome, RowRequest)]
        if good:
            decided = self._path.decide([outcomes[at] for at in good])
            for at, outcome in zip(good, decided, strict=True):
                outcomes[at] = outcome
        return outcomes

    async def answer_row(
        self,
        row: Mapping[str, Any],
        context: RequestContext,
        done: Callable[[], None] = lambda: None,
    ) -> Outcome:
        """Return what becomes of one row, without blocking the event loop.

        It is decided together with the rows of other requests that are at hand.

        Args:
            row: As its client sends it.
            context: Of its request.
            done: Called once no work on it is left, be it given up or not.

        Raises:
            RequestRefused: If the client's ``Idempotency-Key`` is no good.
        """
        try:
            (request,) = self._read([row], context, None)
        except BaseException:
            done()
            raise
        if isinstance(request, RequestRefused):
            done()
            return request
        return await self._gatherer.outcome(request, done)

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

    def _read(
        self,
        rows: Sequence[Mapping[str, Any]],
        context: RequestContext,
        places: Sequence[int] | None,
    ) -> list[RowRequest | RequestRefused]:
        """Return each row typed and identified, or its refusal."""
        outcomes: list[Any] = self.scorer.read_rows(rows)
        good = [at for at, outcome in enumerate(outcomes) if isinstance(outcome, dict)]
        typed = [outcomes[at] for at in good]
        identities: Sequence[Any] = [None] * len(typed)
        if self.recorder is not None and typed:
            of_good = None if places is None else [places[at] for at in good]
            identities = self.recorder.identify(typed, context, of_good)
        for at, row, identity in zip(good, typed, identities, strict=True):
            outcomes[at] = RowRequest(row, context, identity)
        return outcomes

    async def _decide_soon(self, requests: Sequence[RowRequest]) -> Sequence[Outcome]:
        # The requests hold the model, too, but they may be given up before this ends.
        with self.users:
            return await self._path.decide_soon(requests)

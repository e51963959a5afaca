"""One model as it answers: its scorer and, where features look back in time, its online state."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec

from features.online.events import LabelReport
from features.online.state import LabelCounts
from serving.decisions.recorder import Recorder
from serving.gathering import RowGatherer
from serving.online_path import OnlinePath
from serving.refusals import RequestRefused
from serving.request_context import RequestContext
from serving.request_trace import finish_stage
from serving.requests import TypedRow
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
        self.users = UseCount()
        # Not a method of this object: a circle of references would outlive a swapped model.
        decide = partial(_decide_soon, self._path, self.users)
        self._gatherer = RowGatherer(decide)
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
    def n_waiting(self) -> int:
        """Rows that wait for the group before theirs to be decided."""
        return self._gatherer.n_waiting

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
        return self._decided(self.scorer.read_rows(rows), context or RequestContext(), places)

    def answer_bodies(
        self, bodies: Sequence[msgspec.Raw], context: RequestContext
    ) -> list[Outcome]:
        """Return what becomes of each row of a batch, in order; may block.

        Args:
            bodies: JSON of each row.
            context: Of the request.

        Raises:
            RequestRefused: If the client's ``Idempotency-Key`` is no good.
        """
        read = self.scorer.read_bodies(bodies)
        finish_stage("parse")
        return self._decided(read, context, range(len(bodies)))

    async def answer_body(
        self, body: bytes, context: RequestContext, done: Callable[[], None] = lambda: None
    ) -> Outcome:
        """Return what becomes of one row, without blocking the event loop.

        It is decided together with the rows of other requests that are at hand.

        Args:
            body: JSON of the row.
            context: Of its request.
            done: Called once no work on it is left, be it given up or not.

        Raises:
            RequestRefused: If the row is not fit to be scored, or its ``Idempotency-Key`` no good,
                or its time is over.
        """
        try:
            (request,) = self._requests([self.scorer.read_body(body)], context, None)
            finish_stage("parse")
        except BaseException:
            done()
            raise
        return await self._gatherer.outcome(request, done)

    def report_labels(self, reports: Sequence[LabelReport]) -> LabelCounts | None:
        """Feed labels to the features that look back at them; None where none does.

        Raises:
            RequestRefused: If the state does not answer.
        """
        return None if self.path is None else self.path.report_labels(reports)

    def close(self) -> None:
        """Let go of the online state."""
        if self._let_go is not None:
            self._let_go()
        elif self.path is not None:
            self.path.close()

    def _decided(
        self,
        read: Sequence[TypedRow | RequestRefused],
        context: RequestContext,
        places: Sequence[int] | None,
    ) -> list[Outcome]:
        """Return what becomes of each row of one request; refusals stay in their places."""
        outcomes: list[Any] = list(read)
        good = [at for at, row in enumerate(read) if isinstance(row, dict)]
        if good:
            of_good = None if places is None else [places[at] for at in good]
            requests = self._requests([outcomes[at] for at in good], context, of_good)
            for at, outcome in zip(good, self._path.decide(requests), strict=True):
                outcomes[at] = outcome
        return outcomes

    def _requests(
        self, rows: Sequence[TypedRow], context: RequestContext, places: Sequence[int] | None
    ) -> list[RowRequest]:
        """Return rows with what they are known by."""
        if self.recorder is None:
            return [RowRequest(row, context) for row in rows]
        identities = self.recorder.identify(rows, context, places)
        return [RowRequest(row, context, its) for row, its in zip(rows, identities, strict=True)]


async def _decide_soon(
    path: OnlinePath | StatelessPath, users: UseCount, requests: Sequence[RowRequest]
) -> Sequence[Outcome]:
    # The requests hold the model, too, but they may be given up before this ends.
    with users:
        return await path.decide_soon(requests)

"""What one model decides, written down before it is sent; what was decided before, sent again."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import msgspec

from balancing.calibration.thresholds import DECISION_NAMES
from serving.answers import Answer, RepeatedAnswer
from serving.decisions.applied import AppliedMarks
from serving.decisions.group_writer import Entry, Verdict
from serving.decisions.layout import RecordLayout
from serving.decisions.log import DecisionLog
from serving.decisions.record import Draft, Identity, decoded_answer
from serving.decisions.refusals import log_unavailable, reused
from serving.decisions.store import Answered
from serving.decisions.submission import LogUnavailable
from serving.exploration import explorer_of
from serving.refusals import RequestRefused
from serving.request_context import RequestContext
from serving.request_trace import finish_stage
from serving.requests import TypedRow
from serving.row_request import Outcome, RowRequest
from serving.scored import ScoredRow
from serving.scorer import Scorer

MOST_KEY_CHARACTERS = 255

# The refusal has to leave before the deadline cuts the request off.
_MARGIN_SECONDS = 0.05
_PATIENCE_SECONDS = 5.0

_APPROVE, _REVIEW, _DECLINE = DECISION_NAMES


Decided = tuple[RowRequest, ScoredRow, Answer, bool]
"""A row, what the scorer said, the answer, and whether the row becomes part of the past."""


class Recorded(msgspec.Struct, frozen=True):
    """What became of a decision.

    Attributes:
        outcome: What the client gets.
        decision_id: The decision that the row counts under; None where it was refused.
        sequence: Its number in the log; None where this request wrote nothing.
    """

    outcome: Outcome
    decision_id: str | None = None
    sequence: int | None = None


class Recorder:
    """Writes down what one version of a model decides.

    Args:
        log: The process's log.
        scorer: The model and its policy.
        degrades: Whether rows are answered while the log is away, at least with ``review``.
        requires_key: Whether a row needs an id, or its request an ``Idempotency-Key``.

    Attributes:
        marks: What of the log the model's online state holds; None where there is no state.
        explorer: Lets some declined rows through; None where the policy declines for good.
    """

    def __init__(
        self,
        log: DecisionLog,
        scorer: Scorer,
        *,
        degrades: bool = False,
        requires_key: bool = False,
    ) -> None:
        self._log = log
        self._degrades = degrades
        self._requires_key = requires_key
        self._counts_declined = scorer.bundle.contract.policy.count_declined
        self.explorer = explorer_of(scorer, log.secret)
        self._layout = RecordLayout(
            scorer.bundle.contract,
            scorer.bundle.feature_set,
            model_version=scorer.model_version,
            policy_version=scorer.policy_version,
            secret=log.secret,
        )
        state = self._layout.state
        self.marks: AppliedMarks | None = None if state is None else log.marks(state)

    def identify(
        self, rows: Sequence[TypedRow], context: RequestContext, places: Sequence[int] | None
    ) -> list[Identity]:
        """Return what makes each row the same row again.

        Args:
            rows: As the contract types them.
            context: Of their request.
            places: Of the rows in their batch; None where one row came alone.

        Raises:
            RequestRefused: If the client's key is missing where it must not be, or too long.
        """
        key = context.idempotency_key
        if key is not None and not 0 < len(key) <= MOST_KEY_CHARACTERS:
            raise RequestRefused(
                "invalid_idempotency_key",
                f"An Idempotency-Key has 1 to {MOST_KEY_CHARACTERS} characters.",
                status=400,
            )
        identities = [
            self._layout.identity(row, context, None if places is None else places[at])
            for at, row in enumerate(rows)
        ]
        if self._requires_key and any(identity.key is None for identity in identities):
            raise RequestRefused(
                "missing_idempotency_key",
                "Rows of this model have no id: send the header Idempotency-Key.",
                status=400,
            )
        return identities

    def earlier(self, requests: Sequence[RowRequest]) -> list[Recorded | None]:
        """Return what was decided of each row before, as far as a look-up now tells."""
        keys = [request.identity.key if request.identity else None for request in requests]
        found = self._log.find_answered([key for key in keys if key is not None])
        earlier: list[Recorded | None] = []
        for request, key in zip(requests, keys, strict=True):
            before = None if key is None else found.get(key)
            if before is None or request.identity is None:
                earlier.append(None)
            else:
                row_id = self._id_of(request.row)
                earlier.append(self._repeated(before, request.identity, row_id))
        return earlier

    def entries(self, decided: Iterable[Decided]) -> list[Entry]:
        """Return decisions, ready to be written down."""
        layout, marks = self._layout, self.marks
        found: list[Entry] = []
        # Rows of one request share where its time went so far.
        last, stages = None, {}
        for request, scored, answer, counts in decided:
            context, identity = request.context, request.identity
            assert identity is not None, "what is written down was identified"
            if context is not last:
                last, stages = context, _stages(context)
            draft = Draft(
                identity,
                context.received_at,
                context.key_id,
                request.row,
                scored,
                answer,
                stages,
                counts,
            )
            found.append(Entry(draft, layout, marks))
        return found

    def append(
        self,
        entries: Sequence[Entry],
        deadline: float,
        late: Callable[[list[Verdict]], None] | None = None,
    ) -> list[Recorded]:
        """Write decisions down and return what their clients get; blocks.

        Args:
            entries: Of one request, or of several that were decided together.
            deadline: Moment of ``time.monotonic()`` by which the first of them is due.
            late: Called with the verdicts if they come after the requests were refused.
        """
        if not entries:
            return []
        try:
            verdicts = self._log.append(entries, _in_time(deadline), late=late)
        except LogUnavailable as error:
            return self._unwritten(entries, error)
        finally:
            finish_stage("log")
        return self._written(entries, verdicts)

    async def append_soon(self, entries: Sequence[Entry], deadline: float) -> list[Recorded]:
        """Write decisions down, as :meth:`append` does, without blocking the event loop."""
        if not entries:
            return []
        try:
            verdicts = await self._log.append_soon(entries, _in_time(deadline))
        except LogUnavailable as error:
            return self._unwritten(entries, error)
        finally:
            finish_stage("log")
        return self._written(entries, verdicts)

    def _written(self, entries: Sequence[Entry], verdicts: Sequence[Verdict]) -> list[Recorded]:
        recorded = []
        for entry, verdict in zip(entries, verdicts, strict=True):
            draft = entry.draft
            if verdict.earlier is not None:
                recorded.append(self._repeated(verdict.earlier, draft.identity, draft.answer.id))
            else:
                answer = draft.answer
                recorded.append(Recorded(answer, answer.decision_id, verdict.sequence))
        return recorded

    def _repeated(self, found: Answered, identity: Identity, row_id: str | None) -> Recorded:
        if found.content != identity.content:
            return Recorded(reused(identity, self._layout.id_column))
        content = self._layout.repeated(found.stored, row_id)
        first = decoded_answer(content)
        repeated = RepeatedAnswer(
            **{name: getattr(first, name) for name in Answer.__struct_fields__}, content=content
        )
        return Recorded(repeated, first.decision_id)

    def _unwritten(self, entries: Sequence[Entry], error: LogUnavailable) -> list[Recorded]:
        """Return what clients get whose decisions are not on disk."""
        # What was answered before can often still be read: a locked file, a full disk.
        known = self._readable(entries)
        if self._degrades and not error.is_in_doubt:
            unknown = [entry for entry, before in zip(entries, known, strict=True) if not before]
            others = iter(self._degraded(unknown))
        else:
            others = iter([Recorded(log_unavailable())] * len(entries))
        return [before or next(others) for before in known]

    def _readable(self, entries: Sequence[Entry]) -> list[Recorded | None]:
        """Return what was decided of rows before, if that takes no server to know."""
        if not self._log.reads_are_local:
            return [None] * len(entries)
        drafts = [entry.draft for entry in entries]
        keys = [draft.identity.key for draft in drafts]
        found = self._log.find_answered([key for key in keys if key is not None])
        return [
            self._repeated(found[key], draft.identity, draft.answer.id) if key in found else None
            for draft, key in zip(drafts, keys, strict=True)
        ]

    def _degraded(self, entries: Sequence[Entry]) -> list[Recorded]:
        """Answer rows that are written down later, as long as there is room to keep them."""
        recorded: list[Recorded] = []
        new: dict[bytes, Entry] = {}
        unnamed: list[Entry] = []
        for entry in entries:
            key = entry.draft.identity.key
            known = None if key is None else new.get(key) or self._log.find_kept(key)
            if known is not None:
                recorded.append(self._kept_before(known, entry))
                continue
            kept = self._as_degraded(entry)
            recorded.append(Recorded(kept.draft.answer, kept.draft.answer.decision_id))
            if key is None:
                unnamed.append(kept)
            else:
                new[key] = kept
        if not self._log.keep([*new.values(), *unnamed]):
            return [Recorded(log_unavailable())] * len(entries)
        return recorded

    def _as_degraded(self, entry: Entry) -> Entry:
        """Return a decision as it leaves while the log is away: somebody has to look at it.

        What was to be explored is not: it is answered as the policy and the rules have it.
        """
        draft, scored = entry.draft, entry.draft.scored
        decision = _REVIEW if scored.decision == _APPROVE else scored.decision
        answer = msgspec.structs.replace(
            draft.answer, decision=decision, reasons=scored.reasons, flags=scored.flags,
            degraded=True,
        )  # fmt: skip
        counts = draft.counts and (self._counts_declined or decision != _DECLINE)
        return replace(entry, draft=replace(draft, answer=answer, counts=counts, is_applied=True))

    def _kept_before(self, known: Entry, entry: Entry) -> Recorded:
        identity = entry.draft.identity
        if known.draft.identity.content != identity.content:
            return Recorded(reused(identity, self._layout.id_column))
        return Recorded(known.draft.answer, known.draft.answer.decision_id)

    def _id_of(self, row: TypedRow) -> str | None:
        return None if self._layout.id_column is None else row.get(self._layout.id_column)


def _stages(context: RequestContext) -> dict[str, int]:
    """Return the microseconds by stage, as far as a request has come."""
    spent = {} if context.trace is None else context.trace.seconds
    return {stage: round(seconds * 1e6) for stage, seconds in spent.items()}


def _in_time(deadline: float) -> float:
    """Return until when to wait for the log, so that a refusal is in time as well."""
    if deadline == math.inf:
        return time.monotonic() + _PATIENCE_SECONDS
    return deadline - _MARGIN_SECONDS

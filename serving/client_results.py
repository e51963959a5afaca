"""What the service says to its Python client: answers, counts, decisions, and errors.

Fields that a newer service adds are read over, so that a client may be older than its service.
"""

from typing import Any

import msgspec

from infra.errors import WhitecrowError
from serving.answer_shapes import Answer, AtThisScore, ModelName, Reason

__all__ = [
    "AccessDenied",
    "Answer",
    "AtThisScore",
    "Decision",
    "IdReused",
    "LabelCounts",
    "LabelReport",
    "ModelDescription",
    "ModelName",
    "Reason",
    "RequestInvalid",
    "RowError",
    "ScoringFailed",
    "ServiceFailed",
    "ServiceUnreachable",
    "TooManyRequests",
]


class RowError(msgspec.Struct, frozen=True):
    """What stands in the place of an answer to one row of a batch.

    Attributes:
        code: Such as ``missing_field``; see the service's page ``/docs``.
        message: One line; never repeats a value of the row.
        field: The field that is meant; None where it is none.
        retry: Whether the same row may succeed later.
    """

    code: str
    message: str
    field: str | None = None
    retry: bool = False


class LabelReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of a row.

    Attributes:
        id: Of the row.
        label: 1 for the positive class, 0 for the other.
        reported_at: When it became known, ISO 8601; None for now.
        source: Who says so, at most 64 characters.
    """

    id: str | int
    label: int
    reported_at: str | None = None
    source: str | None = None


class LabelCounts(msgspec.Struct, frozen=True):
    """How many reports changed something, changed nothing, or are of rows not seen yet.

    ``contradictory`` are those of all of these that say another label than a report of the very
    same moment does.
    """

    accepted: int
    duplicates: int
    unknown: int
    contradictory: int = 0


class ModelDescription(msgspec.Struct, frozen=True):
    """What a model is now.

    Attributes:
        name: Its name.
        version: That answers.
        policy_version: That decides.
        default: Whether it answers on the routes without a name.
        state: ``serving``.
        details: All that the service says of it; more with a key of the scope ``admin``.
    """

    name: str
    version: str
    policy_version: str
    default: bool
    state: str = "serving"
    details: dict[str, Any] = {}


class Decision(msgspec.Struct, frozen=True):
    """A recorded decision, without anything personal.

    Attributes:
        decision_id: As in the answer.
        id: Of the row; a pseudonym where ids are personal.
        received_at: When the row arrived, ISO 8601.
        risk_score: As in the answer.
        decision: As in the answer.
        reasons: As in the answer.
        flags: As in the answer.
        model: Which model and policy decided.
        details: All that is recorded: typed row, features, logits, latency by stage, ...
    """

    decision_id: str
    id: str | None
    received_at: str
    risk_score: float
    decision: str
    reasons: tuple[Reason, ...]
    flags: tuple[str, ...]
    model: ModelName
    details: dict[str, Any] = {}


class ScoringFailed(WhitecrowError):
    """Raised when a request got no answer; the base of all that the client raises.

    Attributes:
        code: The service's, or ``unreachable``, ``timed_out`` or ``unreadable_answer``.
        field: The field that is meant; None where it is none.
        retry: Whether the same request may succeed later. By then the client has tried.
        status: Of HTTP; None where there was no answer.
        retry_after: Seconds that the service asks to wait; None where it does not.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        field: str | None = None,
        retry: bool = False,
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.field = field
        self.retry = retry
        self.status = status
        self.retry_after = retry_after


class RequestInvalid(ScoringFailed):
    """Raised when the request itself must be mended (400, 404, 405, 413, 415, 422)."""


class AccessDenied(ScoringFailed):
    """Raised when the API key is missing, unknown, expired, or may not do this (401, 403)."""


class IdReused(ScoringFailed):
    """Raised when the id, or the idempotency key, is that of another row (409)."""


class TooManyRequests(ScoringFailed):
    """Raised when this key, or everybody together, asks too much (429)."""


class ServiceFailed(ScoringFailed):
    """Raised when the service cannot answer now (408, 5xx)."""


class ServiceUnreachable(ScoringFailed):
    """Raised when the connection broke, or no answer came in time."""

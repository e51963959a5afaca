"""A row that somebody wants decided, and what becomes of it."""

from collections.abc import Sequence

import msgspec

from serving.answers import Answer
from serving.decisions.record import Identity
from serving.refusals import RequestRefused
from serving.request_context import RequestContext
from serving.requests import TypedRow

Outcome = Answer | RequestRefused | Exception
"""An answer, a refusal, or what broke while this row was decided."""


class RowRequest(msgspec.Struct, frozen=True):
    """A row with the circumstances that it came in.

    Attributes:
        row: As the contract types it.
        context: Of its request; rows of one request share it.
        identity: Under which a repetition is known; None where nothing is written down.
    """

    row: TypedRow
    context: RequestContext
    identity: Identity | None = None


def first_due(requests: Sequence[RowRequest]) -> float:
    """Return the earliest deadline of some requests, a moment of ``time.monotonic()``."""
    return min(request.context.deadline for request in requests)

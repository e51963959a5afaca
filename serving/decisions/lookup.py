"""Stored decisions, as ``GET /v1/decisions/{decision_id}`` shows them."""

import asyncio

from serving.answers import encode
from serving.decisions.log import DecisionLog
from serving.decisions.store import LogMismatch, LogUnreachable
from serving.refusals import RequestRefused


async def decision_page(log: DecisionLog | None, decision_id: str) -> bytes:
    """Return a stored decision as JSON; nothing of it is personal.

    Args:
        log: None where nothing is written down.
        decision_id: As the answer named it.

    Raises:
        RequestRefused: With 404 ``unknown_decision``, or 503 while the log does not answer.
    """
    try:
        # A file or a server is read: beside the event loop.
        found = None if log is None else await asyncio.to_thread(log.find_decision, decision_id)
    except (LogUnreachable, LogMismatch):
        raise RequestRefused(
            "log_unavailable",
            "The decision log does not answer. Send the request again.",
            status=503,
            retry=True,
        ) from None
    if found is None:
        raise RequestRefused(
            "unknown_decision",
            "The log holds no decision of this id; it may have been retired.",
            status=404,
        )
    return encode(found.to_json())

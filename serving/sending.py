"""Sending: what leaves for a request, and what its trace hears of it."""

from collections.abc import Awaitable, Callable
from typing import Any

from serving.answers import encode
from serving.refusals import RequestRefused
from serving.request_trace import current_trace

Send = Callable[[dict[str, Any]], Awaitable[None]]

JSON = b"application/json"
HTML = b"text/html; charset=utf-8"


async def send_whole(
    send: Send,
    status: int,
    body: bytes,
    content_type: bytes = JSON,
    *,
    headers: tuple[tuple[bytes, bytes], ...] = (),
    head_only: bool = False,
) -> None:
    """Send an answer whose length is known.

    Args:
        send: Of the ASGI request.
        status: HTTP status.
        body: The content.
        content_type: Of the content.
        headers: More of them.
        head_only: Whether to keep the content back (HEAD).
    """
    length = (b"content-length", str(len(body)).encode())
    await _send_start(send, status, ((b"content-type", content_type), length, *headers))
    await send({"type": "http.response.body", "body": b"" if head_only else body})


async def send_refusal(send: Send, refusal: RequestRefused) -> None:
    """Send a refusal in the one shape of all errors."""
    await send_whole(send, refusal.status, encode(refusal.to_json()), headers=refusal.headers)


async def send_json_start(send: Send) -> None:
    """Begin an answer of JSON, with 200, whose content is still being made."""
    await _send_start(send, 200, ((b"content-type", JSON),))


async def _send_start(send: Send, status: int, headers: tuple[tuple[bytes, bytes], ...]) -> None:
    trace = current_trace()
    if trace is not None:
        trace.status = status
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})

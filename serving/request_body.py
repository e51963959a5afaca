"""Reading the body of a request: JSON by its headers, bounded in size and time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from serving.refusals import RequestRefused
from serving.request_json import MAX_BODY_BYTES

Scope = dict[str, Any]
Headers = dict[bytes, bytes]
Receive = Callable[[], Awaitable[dict[str, Any]]]

BODY_SECONDS = 1.2  # shorter than the service's own time-out, whose answer has another shape
_DISCARD_SECONDS = 0.4
_DISCARDED_BYTES = 16 * MAX_BODY_BYTES
_CLOSE = ((b"connection", b"close"),)


async def read_json_body(headers: Headers, receive: Receive) -> bytes:
    """Return the whole body.

    Args:
        headers: Names in lower case.
        receive: Of the ASGI request.

    Raises:
        RequestRefused: If it is not JSON by its headers (415), larger than ``MAX_BODY_BYTES``
            (413) or too slow to arrive (408).
        ConnectionResetError: If the client went away.
    """
    _check_media_type(headers)
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await _read(receive, _announced_length(headers))
    except TimeoutError:
        raise RequestRefused(
            "body_too_slow",
            f"The body must arrive within {BODY_SECONDS} s.",
            status=408,
            retry=True,
            headers=_CLOSE,
        ) from None
    except RequestRefused:
        await discard_body(receive)
        raise


async def _read(receive: Receive, announced: int) -> bytes:
    if announced > MAX_BODY_BYTES:
        raise _too_large()
    message = await _next(receive)
    if not message.get("more_body", False):
        return _bounded(message.get("body", b""))
    parts = [message.get("body", b"")]
    size = len(parts[0])
    while message.get("more_body", False):
        message = await _next(receive)
        size += len(message.get("body", b""))
        if size > MAX_BODY_BYTES:
            raise _too_large()
        parts.append(message.get("body", b""))
    return b"".join(parts)


async def discard_body(receive: Receive) -> None:
    """Take some of what is still coming and drop it.

    A client that is cut off while it sends does not read the answer; one that sends without end
    is cut off nevertheless.
    """
    left = _DISCARDED_BYTES
    try:
        async with asyncio.timeout(_DISCARD_SECONDS):
            while left > 0:
                message = await _next(receive)
                left -= len(message.get("body", b""))
                if not message.get("more_body", False):
                    return
    except TimeoutError:
        return


async def _next(receive: Receive) -> dict[str, Any]:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ConnectionResetError
    return message


def _check_media_type(headers: Headers) -> None:
    media_type = headers.get(b"content-type", b"application/json").partition(b";")[0].strip()
    if media_type.lower() != b"application/json":
        raise _unsupported("Send JSON with the header Content-Type: application/json.")
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise _unsupported("Send the body as it is, without Content-Encoding.")


def _announced_length(headers: Headers) -> int:
    length = headers.get(b"content-length", b"0")
    return int(length) if length.isdigit() else 0


def _bounded(body: bytes) -> bytes:
    if len(body) > MAX_BODY_BYTES:
        raise _too_large()
    return body


def _unsupported(message: str) -> RequestRefused:
    return RequestRefused("unsupported_media_type", message, status=415, headers=_CLOSE)


def _too_large() -> RequestRefused:
    return RequestRefused(
        "body_too_large",
        f"A body has at most {MAX_BODY_BYTES} bytes. Split the batch.",
        status=413,
        headers=_CLOSE,
    )

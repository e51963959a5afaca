"""Connections that hold nobody up: not too many, and a request arrives soon or is cut off.

uvicorn bounds the pause between requests, not the time that one takes to arrive nor the length of
its head, and it refuses what is not HTTP in plain text. The application itself bounds bodies
(:mod:`serving.request_body`).
"""

import asyncio
import logging
import resource
import time
from typing import Any, ClassVar

from uvicorn.config import HTTP_PROTOCOLS
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from serving.answers import encode
from serving.draining import DrainingHttp
from serving.refusals import RequestRefused

logger = logging.getLogger(__name__)

ARRIVAL_SECONDS = 5.0
HEAD_BYTES = 1 << 16

_OTHER_DESCRIPTORS = 256
"""What a process may have open besides: databases of its threads, stores, logs, modules."""

_WARN_EVERY_SECONDS = 60.0

_SILENCE = RequestRefused(
    "head_too_slow",
    f"A request must arrive within {ARRIVAL_SECONDS:g} s.",
    status=408,
    retry=True,
)
_LONG_HEAD = RequestRefused(
    "head_too_large", f"The headers have at most {HEAD_BYTES} bytes in all.", status=431
)
_NO_HTTP = RequestRefused("malformed_http", "This is not HTTP/1.1.", status=400)
_TOO_MANY = RequestRefused(
    "too_many_connections",
    "Too many connections are open. Send the request again in a moment.",
    status=503,
    retry=True,
)


def bound_connections() -> None:
    """Let servers that uvicorn starts from now on in this process use :class:`BoundedHttp`."""
    # BentoML makes the server's configuration itself; what "auto" means is all it leaves open.
    HTTP_PROTOCOLS["auto"] = f"{BoundedHttp.__module__}:{BoundedHttp.__name__}"


def limit_connections(most: int) -> None:
    """Refuse connections of this process beyond so many, and have descriptors for those before.

    Where the system grants fewer descriptors than that takes, fewer connections are let in.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = most + _OTHER_DESCRIPTORS
    granted = _up_to(hard, wanted)
    if _up_to(soft, wanted) < granted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (granted, hard))
    BoundedHttp.most = max(1, granted - _OTHER_DESCRIPTORS)
    if BoundedHttp.most < most:
        logger.warning(
            "fewer connections than wanted: the system grants too few file descriptors",
            extra={"connections": BoundedHttp.most, "wanted": most, "descriptors": granted},
        )


def _up_to(limit: int, wanted: int) -> int:
    return wanted if limit == resource.RLIM_INFINITY else min(wanted, limit)


class BoundedHttp(DrainingHttp):
    """One connection, cut off where a request takes longer to arrive, or is longer, than it may.

    Attributes:
        most: Connections at once in this process; one more is refused.
    """

    most: ClassVar[int] = 1_000
    _warned_at: ClassVar[float] = -_WARN_EVERY_SECONDS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._is_arriving = True
        self._is_head = True
        self._head_bytes = 0
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request, not for ever."""
        super().connection_made(transport)
        if len(self.connections) > self.most:
            self._refuse(_TOO_MANY)
            self._warn_now_and_then()
            return
        self._patience = self.loop.call_later(ARRIVAL_SECONDS, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._wait_no_longer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Hand bytes to the parser; keep a timer only while a request is not there as a whole."""
        super().data_received(data)
        if not self._is_arriving:
            self._wait_no_longer()
        elif self._patience is None:
            self._patience = self.loop.call_later(ARRIVAL_SECONDS, self._give_up)
        if self._is_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self._refuse(_LONG_HEAD)

    def on_message_begin(self) -> None:
        """A request begins to arrive (parser callback)."""
        super().on_message_begin()
        self._is_arriving = self._is_head = True
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        """Its head is there (parser callback)."""
        super().on_headers_complete()
        self._is_head = False

    def on_message_complete(self) -> None:
        """It is there as a whole (parser callback)."""
        super().on_message_complete()
        self._is_arriving = False

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - ours has the one shape
        """Refuse what is no HTTP."""
        self._refuse(_NO_HTTP)

    def _give_up(self) -> None:
        self._patience = None
        if self._is_head and self._head_bytes:
            self._refuse(_SILENCE)
        else:
            # Nothing was asked, or it has been answered while its body still came.
            self.transport.close()

    def _wait_no_longer(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _warn_now_and_then(self) -> None:
        now = time.monotonic()
        if now - BoundedHttp._warned_at >= _WARN_EVERY_SECONDS:
            BoundedHttp._warned_at = now
            logger.warning("connections refused: too many are open", extra={"most": self.most})

    def _refuse(self, refusal: RequestRefused) -> None:
        if self.transport.is_closing():
            return
        body = encode(refusal.to_json())
        head = (
            b"content-type: application/json\r\nconnection: close\r\n"
            b"content-length: %d\r\n\r\n" % len(body)
        )
        self.transport.write(STATUS_LINE[refusal.status] + head + body)
        self.transport.close()

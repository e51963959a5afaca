"""Ending without breaking off what has begun: nobody who was let in is turned away.

uvicorn, told to end, answers the requests it has read. Whoever is connected and has not been
read is cut off, and so is who knocks until the process has ended: the listening socket belongs to
BentoML's supervisor, which closes it last. Here both get what they can rely on: a connection is
either refused, so that its request goes elsewhere, or its request is answered.
"""

import asyncio
import contextlib
import os
import signal
import socket
import struct
from collections.abc import Callable
from types import FrameType
from typing import Any

import psutil
from uvicorn import Server
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

GRACE_SECONDS = 2.0
"""How long a connection without a request is kept for one that may be on its way.

A client on a busy machine takes a while to ask again; one that takes longer is cut off.
"""

_GRACE_LOOKS = 20
_EMPTYING_SECONDS = 0.5
_LOOK_SECONDS = 0.001
# struct tcp_info of Linux: of a listening socket, tcpi_unacked is the length of its queue.
_TCP_INFO_BYTES, _TCPI_STATE_AT, _TCPI_UNACKED_AT = 104, 0, 24
_TCP_LISTEN = 10

_Handler = Callable[[int, FrameType | None], Any]


class DrainingHttp(HttpToolsProtocol):
    """One connection; when the server ends, it answers one more request if that comes soon."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._is_draining = False

    def shutdown(self) -> None:
        """End the connection after the request under way, or the one that comes at once."""
        self._is_draining = True
        if self.cycle is None or self.cycle.response_complete:
            self._end_after(_GRACE_LOOKS)
        else:
            self.cycle.keep_alive = False

    def on_headers_complete(self) -> None:
        """The head of a request is there (parser callback)."""
        super().on_headers_complete()
        if self._is_draining and self.cycle is not None:
            self.cycle.keep_alive = False

    def _end_after(self, looks: int) -> None:
        """Close when nothing came in so many looks.

        In looks, not by the clock: where the whole machine stood still, the client had no time.
        """
        if self.cycle is not None and not self.cycle.response_complete:
            return
        if looks:
            self.loop.call_later(GRACE_SECONDS / _GRACE_LOOKS, self._end_after, looks - 1)
        else:
            self.transport.close()


def refuse_connections_when_told_to_end() -> None:
    """Close the door of this process's server before a signal ends it.

    A process whose server has not started yet ends at once. uvicorn would start it first and
    listen again on a socket that another worker has shut, where nobody answers.

    To be called on the event loop of a server that runs or starts, in the main thread.
    """
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        before = signal.getsignal(number)
        if not callable(before):
            continue
        signal.signal(number, _door_closer(loop, before))
        server = _server_behind(before)
        if server is not None and server.should_exit and not server.started:
            # It was told in the moment before.
            _end_by(number)


def _door_closer(loop: asyncio.AbstractEventLoop, then: _Handler) -> _Handler:
    server = _server_behind(then)
    is_ending = False

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal is_ending
        if server is not None and not server.started:
            _end_by(number)
        elif is_ending:
            then(number, frame)
        else:
            is_ending = True
            loop.call_soon_threadsafe(_Door(loop, lambda: then(number, None)).close)

    return end


def _server_behind(handler: _Handler) -> Server | None:
    """Return the server that a signal would end: uvicorn's handler is a method of it."""
    server = getattr(handler, "__self__", None)
    return server if isinstance(server, Server) else None


def _end_by(number: int) -> None:
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


class _Door:
    """The sockets on which this process listens, closed when nobody stands before them.

    Args:
        loop: Lets in who knocks.
        then: Ends the server.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, then: Callable[[], None]) -> None:
        self._loop = loop
        self._then = then
        self._sockets: list[socket.socket] = []
        self._give_up_at = 0.0

    def close(self) -> None:
        """Refuse connections from now on, let in those that were made, and end the server."""
        self._sockets = [socket.socket(fileno=os.dup(number)) for number in _listening()]
        for each in self._sockets:
            # Another worker may have shut it since: to listen would open it again.
            if _is_open(each):
                # The kernel holds back who knocks now, and refuses them when the door is closed.
                each.listen(0)
        self._give_up_at = self._loop.time() + _EMPTYING_SECONDS
        self._close_when_empty()

    def _close_when_empty(self) -> None:
        is_late = self._loop.time() > self._give_up_at
        waiting = [each for each in self._sockets if _queue_length(each) and not is_late]
        for each in self._sockets:
            if each not in waiting:
                # The socket is shared: this closes it for the supervisor and other workers too.
                with contextlib.suppress(OSError), each:
                    each.shutdown(socket.SHUT_RD)
        self._sockets = waiting
        if waiting:
            self._loop.call_later(_LOOK_SECONDS, self._close_when_empty)
        else:
            self._then()


def _listening() -> list[int]:
    """Return the descriptors of this process's listening sockets."""
    connections = psutil.Process().net_connections("tcp")
    return [each.fd for each in connections if each.status == psutil.CONN_LISTEN]


def _is_open(listening: socket.socket) -> bool:
    """Return whether it still listens; True where nobody can tell."""
    about = _tcp_info(listening)
    return about is None or about[_TCPI_STATE_AT] == _TCP_LISTEN


def _queue_length(listening: socket.socket) -> int:
    """Return how many connections have been made and not let in; 0 where nobody can tell."""
    about = _tcp_info(listening)
    if about is None:
        return 0
    (length,) = struct.unpack_from("I", about, _TCPI_UNACKED_AT)
    return int(length)


def _tcp_info(listening: socket.socket) -> bytes | None:
    if not hasattr(socket, "TCP_INFO"):
        return None
    try:
        return listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
    except OSError:
        return None

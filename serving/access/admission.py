"""How much is under way at once, and for how long: refusals instead of queues without end."""

import asyncio
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from typing import TypeVar

from serving.refusals import RequestRefused

T = TypeVar("T")

_THREADS = 32


@dataclass(frozen=True, slots=True)
class Limits:
    """What one process bears.

    Attributes:
        deadline_seconds: A row alone, or labels, not answered by then are refused.
        batch_deadline_seconds: The same for a batch.
        max_under_way: Requests at once.
    """

    deadline_seconds: float = 1.0
    batch_deadline_seconds: float = 10.0
    max_under_way: int = 256


_RETRY_AFTER = ((b"retry-after", b"1"),)


class Admission:
    """Counts requests under way in this process, and ends the waiting for them in time.

    A request counts until its work has ended, even if its client was told that it took too long:
    what hangs on a stalled store must not make room for more of the same.

    Args:
        most: Requests under way at once.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._n = 0
        self._lock = threading.Lock()
        # They mostly wait, for a state or for a commit that many of them share.
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="request")

    @property
    def n_under_way(self) -> int:
        """Requests under way now."""
        return self._n

    def begin(self, work: Callable[[], T]) -> "Future[T]":
        """Start work on a thread, in this context.

        Raises:
            RequestRefused: With 429 ``overloaded``, if too much is under way.
        """
        self.enter()
        try:
            future = self._pool.submit(copy_context().run, work)
        except BaseException:
            self.leave()
            raise
        future.add_done_callback(lambda _: self.leave())
        return future

    async def result(self, future: "Future[T]", deadline: float) -> T:
        """Return what the work returns.

        Args:
            future: Of :meth:`begin`.
            deadline: Moment of ``time.monotonic()`` until which to wait.

        Raises:
            RequestRefused: With 503 ``deadline_exceeded``, if it is not done by then.
        """
        timeout = asyncio.timeout(None if deadline == math.inf else deadline - time.monotonic())
        try:
            async with timeout:
                return await asyncio.wrap_future(future)
        except TimeoutError:
            if not timeout.expired():
                raise  # the work's own
            raise deadline_exceeded() from None

    def enter(self) -> None:
        """Count one more request under way, to :meth:`leave` later.

        Raises:
            RequestRefused: With 429 ``overloaded``, if too much is under way.
        """
        with self._lock:
            if self._n >= self._most:
                raise _overloaded()
            self._n += 1

    def leave(self) -> None:
        """Count one request less under way."""
        with self._lock:
            self._n -= 1

    def close(self) -> None:
        """Wait for what is under way on threads."""
        self._pool.shutdown()


def deadline_exceeded() -> RequestRefused:
    """Return the refusal of a request that took too long."""
    return RequestRefused(
        "deadline_exceeded",
        "The answer took too long. Send the request again, with the same id.",
        status=503,
        retry=True,
        headers=_RETRY_AFTER,
    )


def _overloaded() -> RequestRefused:
    return RequestRefused(
        "overloaded",
        "Too many requests are under way. Send the request again in a moment.",
        status=429,
        retry=True,
        headers=_RETRY_AFTER,
    )

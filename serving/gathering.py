"""Rows of different requests, decided together where they are at hand together.

Most of what a row costs is paid once for however many rows are scored, written down and applied
at once. A row that comes alone waits for nothing: a group is what has arrived in the same turn of
the event loop, or while the group before it was under way. Groups go one by one: two at once would
be smaller, cost more, and take turns with the thread of the decision log in one interpreter.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from math import inf

from serving.access.admission import deadline_exceeded
from serving.request_trace import trace_together
from serving.row_request import Outcome, RowRequest

MOST_TOGETHER = 64
"""Rows of one group: it holds the event loop up for a few milliseconds, if all are explained."""

Decide = Callable[[Sequence[RowRequest]], Awaitable[Sequence[Outcome]]]


@dataclass(slots=True)
class _Waiting:
    request: RowRequest
    outcome: asyncio.Future[Outcome]
    done: Callable[[], None]


class RowGatherer:
    """Decides the rows of single requests in groups; for one event loop at a time.

    It also tells requests when their time is over: one timer for all of them, where a timer each
    would cost as much as the network. Rows have to come in the order of their deadlines.

    Args:
        decide: Decides some rows; what it does before it first waits is done on the event loop.
    """

    def __init__(self, decide: Decide) -> None:
        self._decide = decide
        self._waiting: deque[_Waiting] = deque()
        self._is_due = False
        self._under_way: asyncio.Task[None] | None = None
        self._due: deque[tuple[float, asyncio.Future[Outcome]]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def n_waiting(self) -> int:
        """Rows whose group has not begun."""
        return len(self._waiting)

    async def outcome(self, request: RowRequest, done: Callable[[], None]) -> Outcome:
        """Return what becomes of a row.

        Args:
            request: The row. If it is given up before its group begins, nothing becomes of it.
            done: Called when the work on it has ended, be it given up or not.

        Raises:
            RequestRefused: With 503 ``deadline_exceeded``, if that takes longer than it may.
        """
        loop = asyncio.get_running_loop()
        waiting = _Waiting(request, loop.create_future(), done)
        self._waiting.append(waiting)
        self._begin_soon(loop)
        self._watch(request.context.deadline, waiting.outcome, loop)
        return await waiting.outcome

    def _watch(
        self, deadline: float, outcome: asyncio.Future[Outcome], loop: asyncio.AbstractEventLoop
    ) -> None:
        due = self._due
        while due and due[0][1].done():
            due.popleft()
        if deadline < inf:
            due.append((deadline, outcome))
            if self._timer is None:
                self._end_overdue(loop)

    def _end_overdue(self, loop: asyncio.AbstractEventLoop) -> None:
        """Refuse the rows whose time is over, and look again when the next one's is."""
        self._timer = None
        now = time.monotonic()
        due = self._due
        while due and (due[0][1].done() or due[0][0] <= now):
            _, outcome = due.popleft()
            if not outcome.done():
                outcome.set_exception(deadline_exceeded())
        if due:
            self._timer = loop.call_later(due[0][0] - now, self._end_overdue, loop)

    def _begin_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._is_due and self._under_way is None:
            self._is_due = True
            # After everything that this turn of the loop has read from its connections.
            loop.call_soon(self._begin, loop)

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        self._is_due = False
        group = self._take()
        if group:
            self._under_way = loop.create_task(self._settle(group))
            self._under_way.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._under_way = None
        if self._waiting:
            self._begin_soon(task.get_loop())

    def _take(self) -> list[_Waiting]:
        """Return the next group, without rows that nobody waits for any more."""
        group: list[_Waiting] = []
        now = time.monotonic()
        while self._waiting and len(group) < MOST_TOGETHER:
            waiting = self._waiting.popleft()
            if waiting.outcome.done() or waiting.request.context.deadline <= now:
                waiting.done()
            else:
                group.append(waiting)
        return group

    async def _settle(self, group: Sequence[_Waiting]) -> None:
        requests = [waiting.request for waiting in group]
        # Of this task alone: each has its own context.
        trace_together([request.context.trace for request in requests])
        try:
            outcomes = await self._decide(requests)
        except Exception as error:  # noqa: BLE001 - each request says so in its own log line
            outcomes = [error] * len(group)
        finally:
            for waiting in group:
                waiting.done()
        for waiting, outcome in zip(group, outcomes, strict=True):
            if not waiting.outcome.done():
                waiting.outcome.set_result(outcome)

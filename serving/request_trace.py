"""Where the time of one request goes, and what was decided in it.

The way of a request through the service passes several modules and, for a part of it, another
thread, or work that it shares with other requests. Its trace goes along in a context variable,
which ``asyncio.to_thread`` hands on: each module says which stage it has just finished, and costs
nothing where nobody traces.
"""

from collections.abc import Sequence
from contextvars import ContextVar
from time import perf_counter, time
from typing import Any

STAGES = (
    "receive", "parse", "queue", "state", "features", "model", "reasons", "log", "answer",
)  # fmt: skip
"""In their order: the body arrives, is read, waits for a group or a thread, ...; ``answer`` is the
rest."""


class RequestTrace:
    """The trace of one request; used by one thread at a time.

    Attributes:
        received_at: When it began, in seconds since 1970.
        seconds: Seconds spent in each stage that was passed so far.
        route: Template of its route, never the path as it was sent.
        answers: Answers to its rows, each a :class:`serving.answers.Answer`.
        error: What broke, if something did that is no refusal.
        refused: Error codes of rows of a batch that were refused.
        status: HTTP status; 0 where no answer was begun.
        code: Code of the refusal that the whole request met; empty where it met none.
    """

    __slots__ = (
        "_mark", "answers", "code", "error", "received_at", "refused", "route", "seconds",
        "started", "status",
    )  # fmt: skip

    def __init__(self) -> None:
        self.received_at = time()
        self.started = self._mark = perf_counter()
        self.seconds: dict[str, float] = {}
        self.route = "other"
        self.status = 0
        self.code = ""
        self.error: BaseException | None = None
        self.answers: list[Any] = []
        self.refused: list[str] = []

    def go_along(self, group: "RequestTrace") -> None:
        """Count the stages of work that several requests shared as stages of this one.

        Args:
            group: Its stages are counted in full, and the time until it began as ``queue``.
        """
        seconds = self.seconds
        waited = group.started - self._mark
        if waited > 0:
            seconds["queue"] = seconds.get("queue", 0.0) + waited
        for stage, spent in group.seconds.items():
            seconds[stage] = seconds.get(stage, 0.0) + spent
        self._mark = group.started + group.total

    def finish(self, stage: str) -> None:
        """Count the time since the end of the last stage as spent in this one."""
        now = perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._mark
        self._mark = now

    @property
    def total(self) -> float:
        """Seconds from the beginning to the end of the last finished stage."""
        return self._mark - self.started

    @property
    def slowest(self) -> str:
        """The stage that took the most time."""
        seconds = dict(self.seconds)
        return max(seconds, key=seconds.__getitem__, default="answer")


class GroupTrace(RequestTrace):
    """The trace of work that several requests share.

    Args:
        members: Of the requests.
    """

    __slots__ = ("_members",)

    def __init__(self, members: Sequence[RequestTrace]) -> None:
        super().__init__()
        self._members = members

    def share(self) -> None:
        """Have the requests count what was finished since the last time."""
        for member in self._members:
            member.go_along(self)
        self.seconds.clear()
        self.started = self._mark


_current: ContextVar[RequestTrace | None] = ContextVar("request_trace", default=None)


def begin_trace() -> RequestTrace:
    """Return the trace of a new request, which this context and those made from it now have."""
    trace = RequestTrace()
    _current.set(trace)
    return trace


def current_trace() -> RequestTrace | None:
    """Return the trace of the request under way; None where nobody traces, as over a table."""
    return _current.get()


def trace_together(traces: Sequence[RequestTrace | None]) -> "GroupTrace":
    """Return the trace of work that several requests share, which this context now has."""
    group = GroupTrace([trace for trace in traces if trace is not None])
    _current.set(group)
    return group


def share_stages() -> None:
    """Have the requests that share the work under way count the stages finished so far."""
    group = _current.get()
    if isinstance(group, GroupTrace):
        group.share()


def finish_stage(stage: str) -> None:
    """Say that a stage (of :data:`STAGES`) of the request under way is done."""
    trace = _current.get()
    if trace is not None:
        trace.finish(stage)

"""The begin and the end of each request: its trace, its numbers, and a line where it went wrong."""

import logging
from typing import TYPE_CHECKING

from serving.metrics.tally import ServiceTally
from serving.request_trace import RequestTrace, begin_trace

if TYPE_CHECKING:
    from serving.metrics.published import PublishedMetrics

logger = logging.getLogger(__name__)

_MOST_NAMED = 5
_SLOW_LINE_SECONDS = 1.0
"""Between two lines about slow requests: where all are slow, lines would make them slower."""


class RequestRecorder:
    """Counts the requests of one process, on its event loop.

    Args:
        tally: Where they are counted.
    """

    def __init__(self, tally: ServiceTally) -> None:
        self.tally = tally
        self._next_slow_line = 0.0
        self._n_slow_unsaid = 0
        self._published: PublishedMetrics | None = None

    @property
    def published(self) -> "PublishedMetrics":
        """What Prometheus reads; made when it is first asked for (see there)."""
        if self._published is None:
            from serving.metrics.published import PublishedMetrics

            self._published = PublishedMetrics(self.tally)
        return self._published

    def begin(self) -> RequestTrace:
        """Return the trace of a request that begins now."""
        self.tally.n_under_way += 1
        return begin_trace()

    def end(self, trace: RequestTrace) -> None:
        """Count a request that has been answered, and log it if it was slow or has failed.

        An ordinary request leaves no line: a thousand a second would drown those that matter. Of
        slow ones a line a second says how many others there were; the metrics count them all.
        """
        trace.finish("answer")
        self.tally.n_under_way -= 1
        is_slow = self.tally.record(trace)
        if trace.error is not None:
            logger.error("request failed", extra=_facts(trace), exc_info=trace.error)
            # Its traceback leads back to the trace: a circle that nobody would free at once.
            trace.error = None
        elif trace.status >= 500 or not trace.status:
            logger.warning("request failed", extra=_facts(trace))
        elif is_slow:
            self._tell_slow(trace)

    def _tell_slow(self, trace: RequestTrace) -> None:
        now = trace.started + trace.total
        if now < self._next_slow_line:
            self._n_slow_unsaid += 1
            return
        unsaid, self._n_slow_unsaid = self._n_slow_unsaid, 0
        self._next_slow_line = now + _SLOW_LINE_SECONDS
        logger.info("slow request", extra={**_facts(trace), "n_slow_unsaid": unsaid})


def _facts(trace: RequestTrace) -> dict[str, object]:
    """Return what a line about a request says; never a path as it was sent, or a row."""
    ids = [answer.decision_id for answer in trace.answers[:_MOST_NAMED]]
    return {
        "decision_id": ids[0] if len(trace.answers) == 1 else None,
        **({"n_rows": len(trace.answers), "first_decision_ids": ids} if len(ids) > 1 else {}),
        "route": trace.route,
        "status": trace.status,
        **({"code": trace.code} if trace.code else {}),
        "slowest": trace.slowest,
        "milliseconds": {
            "total": round(trace.total * 1e3, 2),
            **{stage: round(seconds * 1e3, 2) for stage, seconds in dict(trace.seconds).items()},
        },
    }

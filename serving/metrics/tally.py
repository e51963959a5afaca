"""Plain numbers that requests update: a microsecond each, no lock, no library."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable
from typing import Final

from serving.answers import RepeatedAnswer
from serving.exploration import is_explored
from serving.forced_answers import FLAG
from serving.request_trace import STAGES, RequestTrace

TOTAL = "total"
SLOW_SECONDS = 0.010
"""A request that takes longer is slow, and the stage that took most of it is named."""

STAGE_BOUNDS: Final = (
    0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0,
)  # fmt: skip
SCORE_BOUNDS: Final = (
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99,
    1.0,
)  # fmt: skip


class Distribution:
    """How often values fell below each bound, and their sum.

    Attributes:
        bounds: Upper bounds, ascending; a value equal to one counts below it.
        counts: Values in each interval, the last one beyond every bound.
        total: Sum of the values.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class ServiceTally:
    """The numbers of one process.

    Numbers of requests are written by the event loop alone, those of anything else by one thread
    each; readers see every number as it was a moment ago, never a torn one.

    Attributes:
        requests: By route template, status and error code.
        slow_requests: By the stage that took most of the time.
        decisions: By model, version, policy version and decision; test identities are none.
        repeated_answers: First answers that were sent again, by model; they are no decisions.
        explored: Rows that were approved though the policy declines them, by model.
        degraded: Answers given without features over time, or without their log, by model.
        refused_rows: Rows of batches that were refused, by error code.
        stages: Seconds by stage; ``total`` is the whole request.
        risk_scores: By model.
        model_changes: By model and outcome: ``swapped`` or ``failed``.
        failed_models: Names whose live record could not be served, so that another one answers.
        versions: Version and policy version that answer now, by model.
        shadow_rows: By model and outcome: ``scored``, ``dropped`` or ``failed``.
        collections: Seconds of garbage collections, by generation.
        n_under_way: Requests that have begun and not ended.
        queues: What tells the length of a queue, by its name.
        log_lag: What tells the age in seconds of the oldest record that the decision log has not
            written yet.
    """

    def __init__(self) -> None:
        self.requests: dict[tuple[str, int, str], int] = defaultdict(int)
        self.slow_requests: dict[str, int] = dict.fromkeys(STAGES, 0)
        self.decisions: dict[tuple[str, str, str, str], int] = defaultdict(int)
        self.repeated_answers: dict[str, int] = defaultdict(int)
        self.explored: dict[str, int] = defaultdict(int)
        self.degraded: dict[str, int] = defaultdict(int)
        self.refused_rows: dict[str, int] = defaultdict(int)
        self.stages = {stage: Distribution(STAGE_BOUNDS) for stage in (*STAGES, TOTAL)}
        self.risk_scores: dict[str, Distribution] = {}
        self.model_changes: dict[tuple[str, str], int] = defaultdict(int)
        self.failed_models: frozenset[str] = frozenset()
        self.versions: dict[str, tuple[str, str]] = {}
        self.shadow_rows: dict[tuple[str, str], int] = defaultdict(int)
        self.collections = {str(at): Distribution(STAGE_BOUNDS) for at in range(3)}
        self.n_under_way = 0
        self.queues: dict[str, Callable[[], int]] = {}
        self.log_lag: Callable[[], float] | None = None

    def record(self, trace: RequestTrace) -> bool:
        """Count a request that has ended; return whether it was slow."""
        self.requests[trace.route, trace.status, trace.code] += 1
        stages = self.stages
        # Copies: work that missed its deadline goes on, on its thread, and traces itself.
        for stage, seconds in dict(trace.seconds).items():
            # Distribution.observe, without a call for each stage of each request.
            distribution = stages[stage]
            distribution.counts[bisect_left(STAGE_BOUNDS, seconds)] += 1
            distribution.total += seconds
        total = trace.total
        stages[TOTAL].observe(total)
        for answer in tuple(trace.answers):
            flags = answer.flags
            if flags and FLAG in flags:
                continue
            model = answer.model
            name = model.name
            if isinstance(answer, RepeatedAnswer):
                self.repeated_answers[name] += 1
                continue
            self.decisions[name, model.version, model.policy_version, answer.decision] += 1
            scores = self.risk_scores.get(name)
            if scores is None:
                scores = self.risk_scores[name] = Distribution(SCORE_BOUNDS)
            scores.observe(answer.risk_score)
            if flags and is_explored(flags):
                self.explored[name] += 1
            if answer.degraded:
                self.degraded[name] += 1
        for code in trace.refused:
            self.refused_rows[code] += 1
        if total <= SLOW_SECONDS:
            return False
        self.slow_requests[trace.slowest] += 1
        return True

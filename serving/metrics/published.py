"""The service's numbers as Prometheus reads them, summed over the processes of a service.

BentoML gives every process of a service one folder (``PROMETHEUS_MULTIPROC_DIR``), in which
prometheus_client keeps a file for each process; whichever process is asked adds them up. The
library decides when it is imported whether it does so: it is imported here, when the first
request or the service itself asks, and BentoML has set the folder by then.
"""

import os
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)

from serving.metrics.tally import SCORE_BOUNDS, STAGE_BOUNDS, Distribution, ServiceTally

_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_PREFIX = "whitecrow_"
_Mode = Literal["livesum", "livemax"]


class _Histogram(Histogram):
    """A histogram that takes many values at once."""

    def add(self, counts: Iterable[int], total: float) -> None:
        """Add values by interval, and their sum."""
        for bucket, count in zip(self._buckets, counts, strict=True):
            if count:
                bucket.inc(count)
        self._sum.inc(total)


class PublishedMetrics:
    """Publishes the numbers of this process; safe to use from several threads.

    Args:
        tally: Of this process.
    """

    def __init__(self, tally: ServiceTally) -> None:
        self._tally = tally
        self._lock = threading.Lock()
        self._registry = CollectorRegistry()
        self._counted: dict[tuple[str, tuple[str, ...]], int] = {}
        self._distributed: dict[tuple[str, tuple[str, ...]], tuple[list[int], float]] = {}
        self._versions: dict[str, tuple[str, str]] = {}
        self._known_models: set[str] = set()
        if _FOLDER in os.environ:
            _forget_dead_processes(Path(os.environ[_FOLDER]))
        counter, gauge, histogram = self._counter, self._gauge, self._histogram
        self._counters = {
            "requests": counter("requests", "Requests answered.", "route", "status", "code"),
            "slow_requests": counter(
                "slow_requests", "Requests over 10 ms, by what took longest.", "stage"
            ),
            "decisions": counter(
                "decisions", "Rows decided.", "model", "version", "policy_version", "decision"
            ),
            "repeated_answers": counter(
                "repeated_answers", "First answers that were sent again.", "model"
            ),
            "explored": counter(
                "explored_rows", "Rows approved though the policy declines them.", "model"
            ),
            "degraded": counter("degraded_answers", "Answers marked degraded.", "model"),
            "refused_rows": counter("refused_rows", "Rows of batches refused.", "code"),
            "model_changes": counter(
                "model_changes", "Models and policies swapped in, or not.", "model", "outcome"
            ),
            "shadow_rows": counter(
                "shadow_rows", "Rows for challengers to score.", "model", "outcome"
            ),
        }
        self._stages = histogram(
            "stage_seconds", "Time of requests by stage.", STAGE_BOUNDS, "stage"
        )
        self._collections = histogram(
            "gc_pause_seconds", "Garbage collections.", STAGE_BOUNDS, "generation"
        )
        self._scores = histogram("risk_score", "Scores of rows.", SCORE_BOUNDS, "model")
        self._under_way = gauge("requests_under_way", "Requests not answered yet.", "livesum")
        self._queues = gauge("queue_length", "Items that wait.", "livesum", "queue")
        self._lag = gauge(
            "log_lag_seconds", "Age of the oldest record not in the decision log yet.", "livemax"
        )
        self._failed = gauge(
            "model_failed", "1 where the live record could not be served.", "livemax", "model"
        )
        self._serving = gauge(
            "model_serving", "Processes that answer with it.", "livesum",
            "model", "version", "policy_version",
        )  # fmt: skip

    def page(self) -> tuple[bytes, bytes]:
        """Return a content type, and the numbers of every process in Prometheus' text format."""
        self.publish()
        registry = self._registry
        if _FOLDER in os.environ:
            registry = CollectorRegistry()
            multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return CONTENT_TYPE_LATEST.encode(), generate_latest(registry)

    def publish(self) -> None:
        """Add what this process counted since the last time."""
        with self._lock:
            self._publish()

    def withdraw(self) -> None:
        """Take back what holds only while this process lives: lengths of queues, versions."""
        if _FOLDER in os.environ:
            with self._lock:
                multiprocess.mark_process_dead(os.getpid())  # type: ignore[no-untyped-call]

    def _publish(self) -> None:
        tally = self._tally
        for name in self._counters:
            self._publish_counts(name, getattr(tally, name))
        for stage, spent in tally.stages.items():
            self._publish_distribution("stages", self._stages, stage, spent)
        for generation, pauses in tally.collections.items():
            self._publish_distribution("collections", self._collections, generation, pauses)
        for model, scores in list(tally.risk_scores.items()):
            self._publish_distribution("risk_scores", self._scores, model, scores)
        self._under_way.set(tally.n_under_way)
        for queue, length in tally.queues.items():
            self._queues.labels(queue).set(length())
        self._lag.set(tally.log_lag() if tally.log_lag is not None else 0.0)
        self._publish_models()

    def _publish_models(self) -> None:
        versions, failed = dict(self._tally.versions), self._tally.failed_models
        for model, version in versions.items():
            before = self._versions.get(model)
            if before is not None and before != version:
                self._serving.labels(model, *before).set(0)
            self._serving.labels(model, *version).set(1)
        self._versions = versions
        self._known_models |= set(versions) | failed
        for model in self._known_models:
            self._failed.labels(model).set(model in failed)

    def _publish_counts(self, name: str, counts: Mapping[object, int]) -> None:
        # A copy: the event loop may meet a new label meanwhile.
        for key, count in dict(counts).items():
            labels = tuple(map(str, key)) if isinstance(key, tuple) else (str(key),)
            new = count - self._counted.get((name, labels), 0)
            if new or (name, labels) not in self._counted:
                self._counters[name].labels(*labels).inc(new)
                self._counted[name, labels] = count

    def _publish_distribution(
        self, name: str, histogram: _Histogram, label: str, values: Distribution
    ) -> None:
        counts, total = list(values.counts), values.total
        before, total_before = self._distributed.get((name, (label,)), ([0] * len(counts), 0.0))
        child = histogram.labels(label)
        if counts != before:
            new = (now - then for now, then in zip(counts, before, strict=True))
            child.add(new, total - total_before)
        self._distributed[name, (label,)] = counts, total

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(_PREFIX + name, text, labels, registry=self._registry)

    def _gauge(self, name: str, text: str, mode: _Mode, *labels: str) -> Gauge:
        return Gauge(_PREFIX + name, text, labels, registry=self._registry, multiprocess_mode=mode)

    def _histogram(
        self, name: str, text: str, bounds: tuple[float, ...], *labels: str
    ) -> _Histogram:
        return _Histogram(_PREFIX + name, text, labels, registry=self._registry, buckets=bounds)


def _forget_dead_processes(folder: Path) -> None:
    """Drop the gauges of processes that were killed: their queues are gone with them."""
    for path in folder.glob("gauge_live*_*.db"):
        pid = path.stem.rpartition("_")[2]
        if pid.isdecimal() and not Path(f"/proc/{pid}").exists() and Path("/proc").exists():
            multiprocess.mark_process_dead(int(pid))  # type: ignore[no-untyped-call]

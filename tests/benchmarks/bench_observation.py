"""What observing costs: a request's trace and numbers, a look at what is live, and a swap.

Prints microseconds a request for the trace, its numbers and the answer's decision; milliseconds
for publishing and for a look that finds nothing new; and of swaps, how long they take, how long
the event loop stood still meanwhile at worst, and how long the collections that follow them
stopped the process, beside a full one.

    python tests/benchmarks/bench_observation.py
"""

import asyncio
import contextlib
import gc
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "serving"))

from conftest import make_home

from serving.answers import Answer, AtThisScore, ModelName
from serving.http import ScoringApp
from serving.live import LiveRecord
from serving.metrics.collections import count_collections
from serving.metrics.published import PublishedMetrics
from serving.metrics.recorder import RequestRecorder
from serving.metrics.tally import ServiceTally
from serving.request_trace import finish_stage
from serving.served_models import ModelSource
from serving.swapping import ModelSwapper, freeze_garbage_collection

N_REQUESTS = 100_000
N_SWAPS = 30
STAGES = ("receive", "parse", "features", "model", "reasons", "log")


def main() -> None:
    """Print the figures."""
    tally = ServiceTally()
    print(f"trace and numbers   {_request_cost(tally):8.2f} us a request")
    published = PublishedMetrics(tally)
    print(f"publishing          {_milliseconds(published.publish):8.2f} ms a second")
    print(f"page of one process {_milliseconds(published.page):8.2f} ms a scrape")
    with tempfile.TemporaryDirectory() as folder:
        _bench_swaps(Path(folder))


def _request_cost(tally: ServiceTally) -> float:
    recorder = RequestRecorder(tally)
    name = ModelName("shop", "1", "1")
    answer = Answer("d", "1", 0.1, "approve", (), (), AtThisScore(0.1, None), name)
    costs = []
    for _ in range(5):
        begun = time.perf_counter()
        for _ in range(N_REQUESTS):
            trace = recorder.begin()
            trace.route, trace.status = "/v1/score", 200
            for stage in STAGES:
                finish_stage(stage)
            trace.answers.append(answer)
            recorder.end(trace)
        costs.append((time.perf_counter() - begun) / N_REQUESTS * 1e6)
    return statistics.median(costs)


def _milliseconds(work: Callable[[], object]) -> float:
    times = []
    for _ in range(50):
        begun = time.perf_counter()
        work()
        times.append((time.perf_counter() - begun) * 1e3)
    return statistics.median(times)


def _bench_swaps(home: Path) -> None:
    store = make_home(home)
    for version in range(2, 8):
        make_home(home, version=str(version), intercept=version / 10, live=False)
    app = ScoringApp()
    source = ModelSource(home)
    app.serve(source.load_all())
    swapper = ModelSwapper(app, source, app.recorder.tally)
    freeze_garbage_collection()
    end = count_collections(app.recorder.tally)
    print(f"look, nothing new   {_milliseconds(swapper.look):8.2f} ms a second")

    def swap(turn: int) -> float:
        version = str(2 + turn % 6)
        store.live.compare_and_swap("shop", store.live.get("shop"), LiveRecord(version, version, 1))
        begun = time.perf_counter()
        swapper.look()
        return (time.perf_counter() - begun) * 1e3

    quiet, _ = asyncio.run(_longest_stall(lambda _: time.sleep(0.03) or 0.0))
    stall, times = asyncio.run(_longest_stall(swap))
    end()
    pauses = app.recorder.tally.collections["2"]
    print(f"swap                {statistics.median(times):8.2f} ms")
    print(f"longest stall       {stall:8.2f} ms ({quiet:.2f} ms without swaps)")
    print(f"pause after a swap  {pauses.total / max(1, sum(pauses.counts)) * 1e3:8.2f} ms")
    begun = time.perf_counter()
    gc.unfreeze()
    gc.collect()
    print(f"full collection     {(time.perf_counter() - begun) * 1e3:8.2f} ms")


async def _longest_stall(work: Callable[[int], float]) -> tuple[float, list[float]]:
    """Return for how long an event loop stood still while work was done on a thread, and that."""
    stalls: list[float] = [0.0]

    async def tick() -> None:
        while True:
            begun = time.perf_counter()
            await asyncio.sleep(0.001)
            stalls.append((time.perf_counter() - begun) * 1e3 - 1.0)

    ticking = asyncio.create_task(tick())
    times = [await asyncio.to_thread(work, turn) for turn in range(N_SWAPS)]
    ticking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await ticking
    return max(stalls), times


if __name__ == "__main__":
    main()

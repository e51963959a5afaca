"""Two generators of load: as fast as answers come (wrk), and at a steady rate whatever comes."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import numpy as np

_ID = "@ID@"
"""In a body: replaced by a number that no other request of the run has."""

_NO_ANSWER = 0
"""Stands for the status of a request without an answer."""

_SCRIPT = """
local bodies = {}
for line in io.lines(os.getenv("BENCH_BODIES")) do bodies[#bodies + 1] = line end
local n, first = 0, tonumber(os.getenv("BENCH_FIRST_ID"))
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
request = function()
  n = n + 1
  local body = bodies[(n - 1) % #bodies + 1]
  return wrk.format(nil, nil, nil, (body:gsub("@ID@", string.format("%.0f", first + n))))
end
done = function(summary, latency, requests)
  local e = summary.errors
  io.stderr:write(string.format(
    '{"requests":%d,"seconds":%f,"failed":%d,"p50":%f,"p99":%f,"p999":%f}',
    summary.requests, summary.duration / 1e6, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency:percentile(99.9) / 1e3))
end
"""


@dataclass(frozen=True)
class Load:
    """What a server did: requests a second, and latencies in milliseconds."""

    rate: float
    p50: float
    p99: float
    p999: float
    n_requests: int
    n_failed: int


def as_fast_as_it_goes(
    url: str, bodies: Path, *, seconds: int, connections: int, first_id: int, scratch: Path
) -> Load:
    """Load a server with wrk: every connection asks again as soon as it has its answer."""
    if shutil.which("wrk") is None:
        sys.exit("This benchmark needs wrk: apt-get install wrk.")
    script = scratch / "bodies.lua"
    script.write_text(_SCRIPT)
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script), url]
    environment = os.environ | {"BENCH_BODIES": str(bodies), "BENCH_FIRST_ID": str(first_id)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found = json.loads(done.stderr)
    return Load(
        rate=found["requests"] / found["seconds"],
        p50=found["p50"],
        p99=found["p99"],
        p999=found["p999"],
        n_requests=found["requests"],
        n_failed=found["failed"],
    )


async def _ask(
    session: aiohttp.ClientSession,
    url: str,
    queue: "asyncio.Queue[tuple[float, bytes] | None]",
    log: "_Log",
) -> None:
    while (item := await queue.get()) is not None:
        due, body = item
        try:
            async with session.post(url, data=body) as response:
                await response.read()
                status = response.status
        except aiohttp.ClientError:
            status = _NO_ANSWER
        # From when it was due: a server that stalls is not forgiven the requests it held up.
        log.milliseconds.append((time.perf_counter() - due) * 1e3)
        log.statuses[status] += 1


class _Log:
    def __init__(self) -> None:
        self.milliseconds: list[float] = []
        self.statuses: Counter[int] = Counter()


def at_a_steady_rate(
    url: str,
    bodies: Sequence[str],
    *,
    rate: float,
    seconds: float,
    first_id: int,
    connections: int = 32,
) -> Load:
    """Send requests when they are due, whether or not the ones before are answered."""

    async def run() -> _Log:
        log = _Log()
        queue: asyncio.Queue[tuple[float, bytes] | None] = asyncio.Queue()
        headers = {"Content-Type": "application/json"}
        connector = aiohttp.TCPConnector(limit=connections)
        async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
            asking = [
                asyncio.create_task(_ask(session, url, queue, log)) for _ in range(connections)
            ]
            begun = time.perf_counter()
            for number in range(int(rate * seconds)):
                due = begun + number / rate
                if (wait := due - time.perf_counter()) > 0:
                    await asyncio.sleep(wait)
                body = bodies[number % len(bodies)].replace(_ID, str(first_id + number))
                queue.put_nowait((due, body.encode()))
            for _ in asking:
                queue.put_nowait(None)
            await asyncio.gather(*asking)
        return log

    begun = time.perf_counter()
    log = asyncio.run(run())
    p50, p99, p999 = np.percentile(log.milliseconds, [50, 99, 99.9])
    return Load(
        rate=len(log.milliseconds) / (time.perf_counter() - begun),
        p50=float(p50),
        p99=float(p99),
        p999=float(p999),
        n_requests=len(log.milliseconds),
        n_failed=sum(n for status, n in log.statuses.items() if status != 200),
    )

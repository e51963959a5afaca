"""Runs the fits of a bake-off: several at once, each under a cap of time, none twice."""

import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from flows.bakeoff.job import write_result
from flows.bakeoff.plan import Job, JobResult
from flows.run_folder import write_json

OnDone = Callable[[Job, JobResult, int, bool], None]
"""Called with a job, what became of it, how many are left, and whether it was done before."""

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS")


def read_result(job: Job) -> JobResult | None:
    """Return what became of a job, ``None`` if it is still to be done."""
    if not job.result_file.is_file():
        return None
    return JobResult.model_validate_json(job.result_file.read_text("utf-8"))


def run_jobs(
    jobs: Sequence[Job],
    *,
    n_parallel: int,
    seconds_cap: float,
    deadline: float = math.inf,
    on_done: OnDone | None = None,
) -> dict[str, JobResult]:
    """Do every job that has no result yet.

    Args:
        jobs: What to do.
        n_parallel: Processes at once.
        seconds_cap: A process that takes longer is ended; its member did not finish.
        deadline: Of ``time.monotonic``; what runs then is ended, and no more is begun.
        on_done: Told of every job that ends, those found done first.

    Returns:
        Each job's result by its name; without those that were not begun.
    """
    results = {job.name: found for job in jobs if (found := read_result(job))}
    left = len(jobs) - len(results)
    for job in jobs:
        if on_done and job.name in results:
            on_done(job, results[job.name], left, True)
    waiting = [job for job in jobs if job.name not in results]
    running: set[subprocess.Popen[bytes]] = set()
    pool = ThreadPoolExecutor(n_parallel)
    try:
        futures = {pool.submit(_run, job, seconds_cap, deadline, running): job for job in waiting}
        for future in as_completed(futures):
            job, result = futures[future], future.result()
            left -= 1
            if result is None:
                continue
            results[job.name] = result
            if on_done:
                on_done(job, result, left, False)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in running.copy():
            process.kill()
    return results


def _run(
    job: Job, seconds_cap: float, deadline: float, running: set[subprocess.Popen[bytes]]
) -> JobResult | None:
    seconds = min(seconds_cap, deadline - time.monotonic())
    if seconds <= 0:
        return None
    job.folder.mkdir(parents=True, exist_ok=True)
    description = job.folder / "job.json"
    write_json(description, job.model_dump(mode="json"))
    environment = os.environ | dict.fromkeys(_THREADS, str(job.n_threads))
    with job.log_file.open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-m", "flows.bakeoff.job", str(description)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env=environment,
        )
        running.add(process)
        try:
            status = process.wait(None if math.isinf(seconds) else seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            why = (
                "the budget was spent" if seconds < seconds_cap else f"longer than {seconds:,.0f} s"
            )
            result = _unfinished(job, why)
            write_result(job, result)
            return result
        finally:
            running.discard(process)
            if process.stdin:
                process.stdin.close()
    # Of a fit that broke off nothing is kept: the next bake-off tries it again.
    why = _last_line(job.log_file) or f"ended with status {status}"
    return read_result(job) or _unfinished(job, why)


def _unfinished(job: Job, why: str) -> JobResult:
    return JobResult(finished=False, why_not=why, strategy=job.strategy)


def _last_line(log: Path) -> str:
    lines = log.read_text("utf-8", errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else ""

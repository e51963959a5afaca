"""What a person sees while work goes on: stages, and a bar with loss, precision and time left.

All of it goes to standard error, so that standard output stays for results.
"""

import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from balancing.training_trace import EpochRecord
from flows.bakeoff.plan import Job, JobResult
from flows.bakeoff.schedule import OnDone
from flows.fitting import OnProgress

_console = Console(stderr=True, highlight=False, soft_wrap=True)


def say(stage: str, text: str) -> None:
    """Tell a person that a stage is done."""
    _console.print(f"[bold cyan]{stage:>12}[/]  {text}")


@contextmanager
def training_progress() -> Iterator[OnProgress]:
    """Yield a callback that draws a bar on a terminal, and draws nothing elsewhere."""
    columns = (
        TextColumn("[bold cyan]{task.description:>12}[/]"),
        BarColumn(bar_width=30),
        TextColumn("{task.fields[facts]}"),
    )
    with Progress(
        *columns, console=_console, transient=True, disable=not sys.stderr.isatty()
    ) as bar:
        tasks: dict[str, TaskID] = {}
        started: dict[str, float] = {}

        def report(stage: str, record: EpochRecord) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, facts="", total=1.0)
                started[stage] = time.monotonic()
            spent = time.monotonic() - started[stage]
            share = spent / max(spent + record.seconds_left, 1e-9)
            bar.update(tasks[stage], completed=share, facts=_facts(record))

        yield report


@contextmanager
def fit_progress() -> Iterator[OnDone]:
    """Yield a callback that draws a bar over the fits of a bake-off, and tells of each."""
    columns = (BarColumn(bar_width=30), TextColumn("{task.fields[facts]}"))
    with Progress(
        *columns, console=_console, transient=True, disable=not sys.stderr.isatty()
    ) as bar:
        task = bar.add_task("fits", facts="", total=None)
        done = 0

        def report(job: Job, result: JobResult, left: int, was_done: bool) -> None:
            nonlocal done
            done += 1
            bar.update(task, completed=done, total=done + left, facts=f"{left} fits left")
            reached = result.validation_average_precision
            facts = f"did not finish: {result.why_not}" if reached is None else f"{reached:.4f}"
            say("found" if was_done else "fitted", f"{job.name}: {facts}")

        yield report


def _facts(record: EpochRecord) -> str:
    parts = [f"epoch {record.epoch}", f"loss {record.train_loss:.5f}"]
    if record.validation_average_precision is not None:
        parts.append(f"validation AP {record.validation_average_precision:.4f}")
    return "  ".join([*parts, f"{math.ceil(record.seconds_left)} s left"])

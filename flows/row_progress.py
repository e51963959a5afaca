"""A bar on standard error while many rows are worked on."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_console = Console(stderr=True, highlight=False, soft_wrap=True)


@contextmanager
def row_progress(stage: str) -> Iterator[Callable[[int, int], None]]:
    """Yield a callback of rows done and rows in all; it draws on a terminal only."""
    columns = (
        TextColumn("[bold cyan]{task.description:>12}[/]"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("rows"),
        TimeRemainingColumn(),
    )
    is_hidden = not sys.stderr.isatty()
    with Progress(*columns, console=_console, transient=True, disable=is_hidden) as bar:
        task = bar.add_task(stage, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)

"""Backfill: the online state as it would be had every row of a history been applied to it.

Rows are loaded in time order, many in one transaction that also records how far it got. A backfill
that was killed goes on where it stopped; rows that came in by themselves count once, because
events are applied by their ids. So a service may be at work on the state meanwhile.
"""

import json
import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import Any, Self

from features.online.events import moment_of
from features.online.history import History
from features.online.state import LATENESS, Applied, OnlineState
from features.velocity import velocity_plan
from infra.errors import Refusal

logger = logging.getLogger(__name__)

ROWS_AT_ONCE = 1_000
"""Rows in one transaction: less than a tenth of a second in which nobody else writes."""

OnProgress = Callable[[int, int], None]
"""Is told how many rows are done, and of how many."""


class BackfillRefused(Refusal):
    """Raised when a state has moved on so far that it would keep nothing of a history."""


@dataclass(frozen=True, slots=True)
class BackfillProgress:
    """How far a backfill got; the state keeps it.

    Attributes:
        source: What identifies the history.
        n_rows: Its rows.
        n_done: Rows loaded, from the oldest on.
        duplicates: Of these, events that the state had already.
        conflicts: Events whose id it had with other content; they were left out.
        too_late: Events that it no longer keeps.
        labels: Labels reported.
        resumed_at: Rows that an earlier run had loaded.
    """

    source: str
    n_rows: int
    n_done: int = 0
    duplicates: int = 0
    conflicts: int = 0
    too_late: int = 0
    labels: int = 0
    resumed_at: int = 0

    @classmethod
    def of(cls, state: OnlineState, source: str, n_rows: int) -> Self:
        """Return how far this backfill got before; nowhere where the last one was another."""
        fresh = cls(source, n_rows)
        try:
            found = cls(**json.loads(state.progress() or "{}"))
        except (ValueError, TypeError):
            # There was none, or another release noted it in its own way: ids make it safe.
            return fresh
        if (found.source, found.n_rows) != (source, n_rows):
            return fresh
        return replace(found, resumed_at=found.n_done)

    @property
    def applied(self) -> int:
        """Events that the state did not have."""
        return self.n_done - self.duplicates - self.conflicts - self.too_late

    def to_json(self) -> dict[str, Any]:
        """Return the counts by name."""
        return asdict(self)


def backfill(
    state: OnlineState,
    history: History,
    *,
    source: str,
    on_progress: OnProgress | None = None,
    rows_at_once: int = ROWS_AT_ONCE,
    pause: float = 0.0,
    lateness: timedelta = LATENESS,
) -> BackfillProgress:
    """Load a history into a state, or what is missing of it.

    Args:
        state: Empty, half loaded, or in use.
        history: Rows and labels.
        source: What identifies the table, its labels and the moment.
        on_progress: Is told how many rows are done.
        rows_at_once: Rows in one transaction.
        pause: Seconds to leave the state to others after each transaction.
        lateness: That the state was opened with.

    Raises:
        BackfillRefused: If the state has moved on too far.
        StateUnreachable: If it does not answer; what was loaded stays.
    """
    _check_not_moved_on(state, history, lateness)
    n_rows = history.frame.height
    progress = BackfillProgress.of(state, source, n_rows)
    logger.info("backfill begun", extra={"rows": n_rows, "done_before": progress.n_done})
    while progress.n_done < n_rows:
        progress = _load_next(state, history, progress, rows_at_once)
        if on_progress is not None:
            on_progress(progress.n_done, n_rows)
        if progress.n_done < n_rows:
            time.sleep(pause)
    logger.info("backfill done", extra=progress.to_json())
    return progress


def _load_next(
    state: OnlineState, history: History, progress: BackfillProgress, n: int
) -> BackfillProgress:
    start, stop = progress.n_done, min(progress.n_done + n, progress.n_rows)
    events, reports = history.events(start, stop), history.reports(start, stop)
    n_labels = progress.labels + len(reports)
    # What becomes of these events is known only afterwards: it is noted with the next ones.
    loaded = replace(progress, n_done=stop, labels=n_labels)
    became = Counter(state.load(events, reports, json.dumps(loaded.to_json())))
    return replace(
        loaded,
        duplicates=progress.duplicates + became[Applied.DUPLICATE],
        conflicts=progress.conflicts + became[Applied.CONFLICT],
        too_late=progress.too_late + became[Applied.TOO_LATE],
    )


def _check_not_moved_on(state: OnlineState, history: History, lateness: timedelta) -> None:
    newest = state.newest()
    if newest is None:
        return
    kept = velocity_plan(history.contract).longest_horizon + lateness
    if history.newest < moment_of(newest) - kept:
        raise BackfillRefused(
            f"The state holds events up to {moment_of(newest):%Y-%m-%d %H:%M} UTC and would keep "
            f"nothing of a history that ends at {history.newest:%Y-%m-%d %H:%M}. "
            "Bring newer rows, or build another state with --state."
        )

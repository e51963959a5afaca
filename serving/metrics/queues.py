"""How much waits in a process: for its turn, for the decision log, and for online states."""

import time
from collections.abc import Callable
from typing import Protocol

from serving.metrics.tally import ServiceTally
from serving.served_models import ServedModels


class _Log(Protocol):
    @property
    def n_waiting(self) -> int: ...
    @property
    def n_kept(self) -> int: ...
    @property
    def n_committed(self) -> int: ...


class _Serving(Protocol):
    @property
    def models(self) -> ServedModels: ...


def watch_queues(tally: ServiceTally, serving: _Serving, log: _Log) -> None:
    """Have a tally tell what waits for its turn, the log and states when it is published."""

    def events_waiting() -> int:
        models = serving.models.by_name.values()
        links = {id(model.path.link): model.path.link for model in models if model.path}
        return sum(link.n_kept for link in links.values())

    def rows_waiting() -> int:
        return sum(model.n_waiting for model in serving.models.by_name.values())

    tally.queues["rows"] = rows_waiting
    tally.queues["log"] = lambda: log.n_waiting
    tally.queues["log_away"] = lambda: log.n_kept
    tally.queues["state_away"] = events_waiting
    tally.log_lag = CommitLag(log)


class CommitLag:
    """Tells for how long decisions have waited without one being written.

    Args:
        log: Counts what waits and what was written.
        now: A clock that never goes back, in seconds.
    """

    def __init__(self, log: _Log, now: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._now = now
        self._n_committed = -1
        self._since: float | None = None

    def __call__(self) -> float:
        """Return the seconds since decisions were first seen to wait; 0 where none does."""
        n_committed = self._log.n_committed
        waits = self._log.n_waiting + self._log.n_kept > 0
        if not waits:
            self._since = None
        elif self._since is None or n_committed != self._n_committed:
            self._since = self._now()
        self._n_committed = n_committed
        return 0.0 if self._since is None else self._now() - self._since

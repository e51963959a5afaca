"""What one request hands to the decision log, and how it hears what became of it."""

import asyncio
import threading
from collections.abc import Callable, Sequence

from infra.errors import WhitecrowError
from serving.decisions.group_writer import Entry, Verdict


class LogUnavailable(WhitecrowError):
    """Raised when a decision was not written down in time.

    Attributes:
        is_in_doubt: Whether it may have been, or may still be.
    """

    def __init__(self, why: str, *, is_in_doubt: bool = False) -> None:
        super().__init__(why)
        self.is_in_doubt = is_in_doubt


class Submission:
    """Decisions of one request on their way through the log's thread.

    Args:
        entries: The decisions.
        late: Called with the verdicts if they come after the request gave up.

    Attributes:
        is_done: Whether there is an outcome.
        wake: Called when there is.
        future: Resolved when there is; of the request's event loop.
    """

    __slots__ = (
        "_error", "_is_given_up", "_late", "_lock", "_verdicts", "entries", "future", "is_done",
        "wake",
    )  # fmt: skip

    def __init__(
        self,
        entries: Sequence[Entry],
        *,
        late: Callable[[list[Verdict]], None] | None = None,
    ) -> None:
        self.entries = entries
        self.wake: Callable[[], None] | None = None
        self.future: asyncio.Future[None] | None = None
        self.is_done = False
        self._lock = threading.Lock()
        self._is_given_up = False
        self._late = late
        self._verdicts: list[Verdict] = []
        self._error: LogUnavailable | None = None

    def finish(self, verdicts: list[Verdict]) -> None:
        """Say what became of the decisions, even if the request was told that nobody knows."""
        with self._lock:
            self._verdicts = verdicts
            is_late = self._is_given_up or self._error is not None
            self.is_done = True
        if is_late and self._late is not None:
            self._late(verdicts)

    def fail(self, error: LogUnavailable) -> None:
        """Say that they were not written down, as far as anybody knows."""
        self._error = error
        self.is_done = True

    def give_up(self) -> bool:
        """Wait no more; say whether there was still nothing to wait for."""
        with self._lock:
            self._is_given_up = not self.is_done
            return self._is_given_up

    def outcome(self) -> list[Verdict]:
        """Return what became of the decisions, or raise why nothing did.

        Raises:
            LogUnavailable: If they were not written down, or nobody knew in time.
        """
        if self._error is not None:
            raise self._error
        return self._verdicts


def resolve_all(futures: Sequence[asyncio.Future[None]]) -> None:
    """Resolve futures on their own event loop; some may have been given up."""
    for future in futures:
        if not future.done():
            future.set_result(None)

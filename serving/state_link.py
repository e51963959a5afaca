"""The way to an online state that may be away for a while.

While the state is known to be away it is not asked again at once, so that a stalled server does
not stall every request. What was acknowledged meanwhile is kept, and applied when it is back.
"""

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import TypeVar

from features.online.events import Event
from features.online.state import OnlineState, StateUnreachable

logger = logging.getLogger(__name__)

T = TypeVar("T")

PAUSE_SECONDS = 1.0
_APPLIED_AT_ONCE = 500
_CATCH_UP_SECONDS = 0.3
MOST_KEPT = 100_000
"""Events kept while the state is away; about 50 MB. Beyond it the oldest are given up."""


class _CatchingUp(StateUnreachable):
    """Raised while the state answers, but more events wait for it than a request can."""


class StateLink:
    """One state as a service uses it; safe to use from several threads.

    Args:
        open_state: Opens the state; called when it is first needed.
        pause: Seconds to leave a state alone that did not answer.
        now: A clock that never goes back, in seconds.

    Attributes:
        has_lost_some: Whether events were ever given up.
    """

    def __init__(
        self,
        open_state: Callable[[], OnlineState],
        *,
        pause: float = PAUSE_SECONDS,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open = open_state
        self._pause = pause
        self._now = now
        self._state: OnlineState | None = None
        self._opening, self._keeping = threading.Lock(), threading.Lock()
        self._kept: deque[Event] = deque()
        self._away: StateUnreachable | None = None
        self._away_until = 0.0
        self.has_lost_some = False

    @property
    def is_reachable(self) -> bool:
        """Whether the state answered when it was last asked."""
        return self._away is None

    @property
    def n_kept(self) -> int:
        """Events that wait for the state to come back."""
        return len(self._kept)

    def ask(self, question: Callable[[OnlineState], T]) -> T:
        """Return what the state answers; events kept for it are applied first.

        Raises:
            StateUnreachable: If it does not answer; at once where it just did not. Also while
                more events wait for it than are applied at once.
        """
        away = self._away
        if away is not None and self._now() < self._away_until:
            raise StateUnreachable(str(away))
        try:
            state = self._opened()
            if self._kept:
                self._catch_up(state)
            answer = question(state)
        except _CatchingUp:
            raise
        except StateUnreachable as error:
            self._leave_alone(error)
            raise
        if self._away is not None:
            self._away = None
            logger.info("online state is back")
        return answer

    def keep(self, events: Sequence[Event]) -> None:
        """Keep acknowledged events until the state is back."""
        with self._keeping:
            self._kept.extend(events)
            n_lost = max(0, len(self._kept) - MOST_KEPT)
            for _ in range(n_lost):
                self._kept.popleft()
        if n_lost:
            self.has_lost_some = True
            logger.error(
                "events given up: the online state is away for too long",
                extra={"n_events": n_lost, "n_kept": MOST_KEPT},
            )

    def close(self) -> None:
        """Close the state, if it was opened; events that still wait are applied, or reported."""
        if self._state is not None:
            with contextlib.suppress(StateUnreachable):
                while self._kept:
                    self._apply_kept(self._state)
            self._state.close()
        if self._kept:
            logger.error(
                "events given up: the online state did not come back",
                extra={"n_events": len(self._kept)},
            )

    def _opened(self) -> OnlineState:
        with self._opening:
            if self._state is None:
                self._state = self._open()
            return self._state

    def _catch_up(self, state: OnlineState) -> None:
        """Apply events that wait, as long as a request can wait for that.

        Raises:
            _CatchingUp: If some are left: without them a row's past is not whole.
        """
        give_up_at = self._now() + _CATCH_UP_SECONDS
        while self._kept and self._now() <= give_up_at:
            self._apply_kept(state)
        if self._kept:
            raise _CatchingUp(f"{len(self._kept)} events wait to be applied to the online state.")

    def _apply_kept(self, state: OnlineState) -> None:
        with self._keeping:
            part = list(islice(self._kept, _APPLIED_AT_ONCE))
            # Idempotent: if the answer is lost, applying them again changes nothing.
            state.apply(part)
            for _ in part:
                self._kept.popleft()
        logger.info("kept events applied", extra={"n_events": len(part)})

    def _leave_alone(self, error: StateUnreachable) -> None:
        if self._away is None:
            logger.error("online state is away", extra={"why": str(error)})
        self._away = error
        self._away_until = self._now() + self._pause

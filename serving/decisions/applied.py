"""How much of the log an online state holds: what a start need not apply again.

A decision is applied to the state after it is written down. A process that is killed in between
leaves a tail that the state does not know. The mark of a writer is a sequence up to which nothing
is missing; it is stored with later commits, late enough for the state's own file to have reached
the disk.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

SETTLING_SECONDS = 35.0
"""How long an operating system may keep what a state wrote before it is on disk (Linux: 30 s)."""


class AppliedMarks:
    """What one process knows to be applied to one state; safe for several threads.

    Args:
        state: Names the state.
        now: A clock that never goes back, in seconds.
    """

    def __init__(self, state: str, *, now: Callable[[], float] = time.monotonic) -> None:
        self.state = state
        self._now = now
        self._lock = threading.Lock()
        self._writer_id = ""
        self._newest = 0
        self._pending: set[int] = set()
        self._kept: list[int] = []
        self._settling: deque[tuple[float, dict[str, int]]] = deque()

    def begin(self, writer_id: str, sequences: Sequence[int], newest: int) -> None:
        """Say that decisions were written down that are still to be applied.

        Args:
            writer_id: Of this process.
            sequences: Theirs, increasing.
            newest: The last sequence written, whatever it belongs to.
        """
        with self._lock:
            if writer_id != self._writer_id:
                self._writer_id = writer_id
                self._pending.clear()
                self._kept.clear()
            self._pending.update(sequences)
            self._newest = max(newest, self._newest if self._pending else newest)

    def done(self, sequences: Sequence[int]) -> None:
        """Say that decisions were applied."""
        with self._lock:
            self._pending.difference_update(sequences)

    def keep(self, sequences: Sequence[int]) -> None:
        """Say that decisions wait in memory for the state to come back."""
        with self._lock:
            self._kept.extend(sequences)

    def kept_are_applied(self) -> None:
        """Say that all that waited in memory was applied."""
        if self._kept:
            with self._lock:
                self._pending.difference_update(self._kept)
                self._kept.clear()

    def adopt(self, applied: Mapping[str, int]) -> None:
        """Say that decisions of other writers were applied by this process."""
        with self._lock:
            self._settling.append((self._now(), dict(applied)))

    def settle(self) -> None:
        """Say that the state has reached the disk, as when it is closed."""
        with self._lock:
            marks = {name: at for _, each in self._settling for name, at in each.items()}
            self._settling.clear()
            self._settling.append((float("-inf"), marks | self._own()))

    def settled(self) -> dict[str, int]:
        """Return the marks, by writer, that may be stored; each is returned once."""
        moment = self._now()
        with self._lock:
            if self._writer_id:
                # A mark a second is enough.
                last = self._settling[-1][0] if self._settling else float("-inf")
                if moment - last >= 1.0:
                    self._settling.append((moment, self._own()))
            marks: dict[str, int] = {}
            while self._settling and moment - self._settling[0][0] >= SETTLING_SECONDS:
                marks |= self._settling.popleft()[1]
            return marks

    def _own(self) -> dict[str, int]:
        mark = min(self._pending) - 1 if self._pending else self._newest
        return {self._writer_id: mark} if self._writer_id else {}

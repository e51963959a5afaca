"""Ending with the process that started this one, also where that one was killed.

Whoever is killed (SIGKILL, out of memory) hands no signal on. BentoML's workers lead sessions of
their own, so that nothing else ends them either: they would go on answering on a port that the next
start cannot have. Asking once a second rather than prctl(PR_SET_PDEATHSIG), which speaks of the
thread that forked, not of its process, and only on Linux.
"""

import logging
import os
import signal
import time

logger = logging.getLogger(__name__)

LAUNCHER_PID = "WHITECROW_LAUNCHER_PID"
SUPERVISOR_PID = "WHITECROW_SUPERVISOR_PID"

PATIENCE_SECONDS = 15.0
"""How long a process that was told to end may take before it is killed."""


class ParentProcess:
    """The process that this one ends with.

    Args:
        pid: Its id, from itself: it may be gone before anybody here looks. None for the parent
            that this process has now.
        patience_seconds: How long the end may take.
    """

    def __init__(self, pid: int | None, *, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._pid = os.getppid() if pid is None else pid
        self._patience_seconds = patience_seconds
        self._told_at: float | None = None

    @classmethod
    def named_by(
        cls, variable: str, *, patience_seconds: float = PATIENCE_SECONDS
    ) -> "ParentProcess":
        """Return the process whose id an environment variable holds, else the present parent."""
        pid = os.environ.get(variable)
        return cls(None if pid is None else int(pid), patience_seconds=patience_seconds)

    def look(self) -> None:
        """End this process, as SIGTERM does, if its parent has gone; kill it if that takes long."""
        if os.getppid() == self._pid:
            return
        if self._told_at is None:
            self._told_at = time.monotonic()
            logger.warning("the process that started this one has gone: ending")
            os.kill(os.getpid(), signal.SIGTERM)
        elif time.monotonic() - self._told_at > self._patience_seconds:
            os.kill(os.getpid(), signal.SIGKILL)

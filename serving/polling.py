"""Looking for changes now and then, on a thread of its own."""

import logging
import threading
from collections.abc import Callable

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0


class Poll:
    """Calls a function once a second until it is closed; its failures are logged once in a row.

    Args:
        look: Looks for a change and acts on it.
        what: For the log.
        seconds: Between two looks.
    """

    def __init__(
        self, look: Callable[[], None], *, what: str, seconds: float = POLL_SECONDS
    ) -> None:
        self._look = look
        self._what = what
        self._seconds = seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"poll {what}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread and wait for it."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        has_failed = False
        while not self._ended.wait(self._seconds):
            try:
                self._look()
            except Exception as error:  # noqa: BLE001 - whatever it is, the next look may go well
                if not has_failed:
                    logger.error("cannot look for changes of %s", self._what,  # noqa: TRY400
                                 extra={"why": str(error)})  # fmt: skip
                has_failed = True
            else:
                has_failed = False

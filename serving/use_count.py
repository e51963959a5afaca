"""Letting go of something only after its last user is done with it."""

import threading
from types import TracebackType


class UseCount:
    """Counts the users of something that will be replaced; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n_users = 0
        self._is_retired = False

    def take(self) -> bool:
        """Count one more user; return False where it has been retired and nobody uses it."""
        with self._lock:
            if self._is_retired and not self._n_users:
                return False
            self._n_users += 1
            return True

    def give_back(self) -> None:
        """Count one user less."""
        with self._lock:
            self._n_users -= 1

    def retire(self) -> None:
        """Take no new users from the moment on that the last one is done."""
        with self._lock:
            self._is_retired = True

    @property
    def is_over(self) -> bool:
        """Whether it was retired and its last user is done; never false again then."""
        with self._lock:
            return self._is_retired and not self._n_users

    def __enter__(self) -> None:
        if not self.take():
            raise RuntimeError("This was let go already.")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.give_back()

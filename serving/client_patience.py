"""How long the Python client waits for a service, and when it sends a request again."""

import random
import time
from dataclasses import dataclass

import stamina

from infra.errors import InputError
from serving.client_results import ScoringFailed

_FIRST_WAIT_SECONDS = 0.1
_LONGEST_WAIT_SECONDS = 2.0
_JITTER_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for the service.

    A request is sent again only if the error says ``retry``, or if no answer came: the service
    knows a row that it has decided before by the contract's id, or by the idempotency key that
    the client sends with every request, and repeats its first answer.

    Attributes:
        timeout_seconds: Without a byte of the answer; above the service's own deadline of 1 s.
        batch_timeout_seconds: The same for batches and labels.
        attempts: How often a request is sent at most; 1 sends nothing again.
        total_seconds: After which nothing is sent again, and no longer wait is begun.
    """

    timeout_seconds: float = 2.5
    batch_timeout_seconds: float = 15.0
    attempts: int = 4
    total_seconds: float = 30.0

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise InputError(f"attempts must be at least 1. Got {self.attempts}.")
        for name in ("timeout_seconds", "batch_timeout_seconds", "total_seconds"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} must be positive. Got {getattr(self, name):g}.")


class Retries:
    """Whether to send one request again, and when.

    Attributes:
        attempts: To be iterated over, once.
    """

    def __init__(self, patience: Patience) -> None:
        self._until = time.monotonic() + patience.total_seconds
        self.attempts = stamina.retry_context(
            on=self.wait_after,
            attempts=patience.attempts,
            timeout=patience.total_seconds,
            wait_initial=_FIRST_WAIT_SECONDS,
            wait_max=_LONGEST_WAIT_SECONDS,
            wait_jitter=_JITTER_SECONDS,
        )

    def wait_after(self, error: Exception) -> bool | float:
        """Return how many seconds to wait; True for the usual, False to give up."""
        if not isinstance(error, ScoringFailed) or not error.retry:
            return False
        if error.retry_after is None:
            return True
        # Many clients were told the same: they shall not come back at the same moment.
        wait = error.retry_after + random.uniform(0, _JITTER_SECONDS)  # noqa: S311 - no secret
        return wait if time.monotonic() + wait < self._until else False

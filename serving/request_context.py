"""What is known of a request besides its rows: when it came, from whom, and for how long."""

import math
import time
from dataclasses import dataclass, field

from serving.request_trace import RequestTrace, current_trace

MICROSECONDS_PER_SECOND = 1_000_000


def now_microseconds() -> int:
    """Return the present moment in microseconds since 1970-01-01 UTC."""
    return time.time_ns() // 1_000


@dataclass(frozen=True, slots=True)
class RequestContext:
    """The circumstances of one request; the same for every row of a batch.

    Attributes:
        received_at: When it arrived, in microseconds since 1970-01-01 UTC.
        key_id: The API key that it came with; None where keys are off.
        idempotency_key: Header ``Idempotency-Key``; None where the client sent none.
        deadline: Moment of ``time.monotonic()`` by which it must be answered, in seconds.
        trace: Where its time goes; None where nobody traces.
    """

    received_at: int = field(default_factory=now_microseconds)
    key_id: str | None = None
    idempotency_key: str | None = None
    deadline: float = math.inf
    trace: RequestTrace | None = field(default_factory=current_trace, compare=False, repr=False)

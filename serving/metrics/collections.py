"""How long garbage collections stop the process."""

import gc
from collections.abc import Callable
from time import perf_counter
from typing import Any

from serving.metrics.tally import ServiceTally


def count_collections(tally: ServiceTally) -> Callable[[], None]:
    """Count every garbage collection of this process from now on; return what ends that."""
    begun = 0.0

    def count(phase: str, info: dict[str, Any]) -> None:
        nonlocal begun
        if phase == "start":
            begun = perf_counter()
        else:
            tally.collections[str(info["generation"])].observe(perf_counter() - begun)

    gc.callbacks.append(count)
    return lambda: gc.callbacks.remove(count)

"""Speed and memory of the simulators; prints, asserts nothing.

Run as ``python tests/benchmarks/bench_simulation.py [ROWS]``; the default is a million rows. The
peak of memory counts the whole process so far, so streaming to a file is measured first.
"""

import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from features.simulation.loans import simulate_loans
from features.simulation.transactions import simulate_transactions, simulate_transactions_to

_KIB_PER_MIB = 1024


def bench(name: str, work: Callable[[], object], *, n_rows: int) -> None:
    """Print rows a second, seconds and the peak of memory so far."""
    started = time.perf_counter()
    work()
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _KIB_PER_MIB
    print(f"{name:28} {n_rows / seconds:12,.0f} rows/s {seconds:7.2f} s  peak {peak:7,.0f} MiB")


def main() -> None:
    """Measure the card stream to a file, the card stream in memory, and loans."""
    n_rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stream.parquet"
        bench(
            "card stream to Parquet",
            lambda: simulate_transactions_to(path, n_rows, seed=0),
            n_rows=n_rows,
        )
    bench("card stream in memory", lambda: simulate_transactions(n_rows, seed=0), n_rows=n_rows)
    bench("loans in memory", lambda: simulate_loans(n_rows, seed=0), n_rows=n_rows)


if __name__ == "__main__":
    main()

"""Memory and time of exact nearest neighbours; prints, asserts nothing.

Run as ``python tests/benchmarks/bench_neighbours.py``; a million random rows of width 256, once on
the CPU and once on CUDA where there is one. The goal is 2 GB beside the rows themselves.
"""

import resource
import sys
import time

import torch

from balancing.neighbours import POINTS_AT_ONCE, QUERIES_AT_ONCE, nearest_neighbours

N_ROWS, WIDTH, K = 1_000_000, 256, 10


def bound_bytes(queries_at_once: int, points_at_once: int, width: int) -> int:
    """Return what blocks take: the product, the centred points, their squares, differences."""
    blocks = 4 * (int(1.1 * queries_at_once * points_at_once) + 2 * points_at_once * width)
    return blocks + 100 * 2**20


def peak_bytes(device: str) -> int:
    """Return the most memory so far: of the process, or of the device."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def bench(device: str, *, n_queries: int) -> None:
    """Print peak memory beside the rows, and time."""
    generator = torch.Generator(device).manual_seed(0)
    points = torch.randn(N_ROWS, WIDTH, generator=generator, device=device)
    queries = torch.randperm(N_ROWS, generator=generator, device=device)[:n_queries]
    nearest_neighbours(points[:10_000], torch.arange(10, device=device), k=K)  # warm-up
    before, started = peak_bytes(device), time.perf_counter()
    nearest_neighbours(points, queries, k=K).cpu()
    seconds, extra = time.perf_counter() - started, peak_bytes(device) - before
    print(
        f"{device:5} {n_queries:6} queries, {N_ROWS:,} x {WIDTH}: {seconds:6.1f} s, "
        f"{2 * n_queries * N_ROWS * WIDTH / seconds / 1e9:7.0f} GFLOP/s, "
        f"{extra / 2**20:6.0f} MiB beside the rows "
        f"(blocks of {QUERIES_AT_ONCE} x {POINTS_AT_ONCE} take "
        f"{bound_bytes(QUERIES_AT_ONCE, POINTS_AT_ONCE, WIDTH) / 2**20:.0f})"
    )


def main() -> None:
    """Run on every device there is."""
    for device in ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]:
        bench(device, n_queries=2_000)


if __name__ == "__main__":
    main()

"""Speed of plain training and of the exported graph; prints, asserts nothing.

Run as ``python tests/benchmarks/bench_training.py``; the rows are random, with creditcard's shape.
"""

import math
import time
from collections.abc import Callable

import numpy as np
import onnxruntime
import torch

from balancing.dataset import LabelledArrays, without_categories
from balancing.export import onnx_bytes
from balancing.inference import OnnxModel
from balancing.networks.mlp import MlpConfig
from balancing.networks.tabm import TabMConfig
from balancing.preprocessing import StandardiseConfig
from balancing.strategies.erm import Erm, ErmConfig
from balancing.strategies.strategy import FittedNetwork

N_ROWS, N_COLUMNS = 200_000, 29

NETWORKS = {
    "MLP ensemble (default)": MlpConfig(),
    "TabM": TabMConfig(numeric=StandardiseConfig()),
    "TabM with embeddings": TabMConfig(),
}


def _rows(n_rows: int) -> LabelledArrays:
    rng = np.random.default_rng(0)
    numeric = rng.normal(size=(n_rows, N_COLUMNS)).astype(np.float32)
    return without_categories(numeric, (rng.random(n_rows) < 0.01).astype(np.int8))


def _best_seconds(work: Callable[[], object], *, repeats: int = 3) -> float:
    def once() -> float:
        started = time.perf_counter()
        work()
        return time.perf_counter() - started

    return min(once() for _ in range(repeats))


def bench_steps(name: str, config: MlpConfig | TabMConfig, *, device: str) -> FittedNetwork:
    """Print training steps a second."""
    erm = ErmConfig(network=config)
    n_rows = 40 * 1024
    fitted = Erm(erm).fit(_rows(n_rows), n_epochs=2, device=device)  # type: ignore[arg-type]
    n_steps = 2 * math.ceil(n_rows / erm.training.batch_size_for(n_rows))
    rate = n_steps / fitted.trace.seconds
    print(f"{name:24} {device:5} {torch.get_num_threads()} threads {rate:10.1f} steps/s")
    return fitted


def bench_scoring(name: str, fitted: FittedNetwork, *, threads: int) -> None:
    """Print rows a second, of ``OnnxModel`` and of the bare runtime, and one row's time."""
    content = onnx_bytes(fitted.network, n_numeric=N_COLUMNS, n_categorical=0)
    model, numeric = OnnxModel(content, threads=threads), _rows(N_ROWS // 4).numeric
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    bare = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    ours = _best_seconds(lambda: model.logits(numeric))
    for chunk in (64, 256, 1024, 4096, len(numeric)):
        parts = np.array_split(numeric, len(numeric) // chunk)
        seconds = _best_seconds(lambda: [bare.run(None, {"numeric": part}) for part in parts])  # noqa: B023
        rate = len(numeric) / seconds
        print(f"{name:24} {threads} threads, bare, {chunk:6} at once {rate:10.0f} rows/s")
    print(f"{name:24} {threads} threads, OnnxModel {len(numeric) / ours:19.0f} rows/s")
    row = numeric[:1]
    one = _best_seconds(lambda: [model.logits(row) for _ in range(1000)])
    print(f"{name:24} {threads} threads, one row {one * 1e3:20.1f} µs")


def main() -> None:
    """Run every benchmark on every device there is."""
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    for name, config in NETWORKS.items():
        for device in devices:
            fitted = bench_steps(name, config, device=device)
        for threads in (1, 2):
            bench_scoring(name, fitted, threads=threads)


if __name__ == "__main__":
    main()

"""What strategies cost beside plain training; prints, asserts nothing.

Run as ``python tests/benchmarks/bench_strategies_cost.py [FOLDER]`` with the folder that holds
``creditcard.parquet`` (by default ``../shared/data``). One process, medians. Goals: EOS's phases 2
and 3 at most 25 % of its phase 1; a MetaBalance step at most 2.2 plain steps in first order and 4
in second. Seconds of the processor stand beside those of the clock: other work on the machine
lengthens the latter more.
"""

import statistics
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import torch

from balancing.batches import place_rows
from balancing.dataset import LabelledArrays, without_categories
from balancing.devices import choose_device, seeded
from balancing.networks.build import build_network
from balancing.networks.layer_stack import LayerStack
from balancing.strategies.end_to_end import EndToEnd
from balancing.strategies.eos import Eos, EosConfig
from balancing.strategies.erm import Erm, ErmConfig
from balancing.strategies.metabalance import MetaBalance, MetaBalanceConfig
from balancing.training import TrainingConfig

REPEATS = 3
N_STEPS = 60


def read_creditcard(folder: Path) -> tuple[LabelledArrays, LabelledArrays]:
    """Return the first 60 % of the rows in time, and the next 20 %."""
    table = pl.read_parquet(folder / "creditcard.parquet").sort("Time")
    numeric = table.drop("Time", "Class").cast(pl.Float32).to_numpy()
    label = table["Class"].cast(pl.Int8).to_numpy()
    ends = [0, int(0.6 * len(label)), int(0.8 * len(label))]
    first, second = (
        without_categories(np.array(numeric[a:b]), np.array(label[a:b])) for a, b in pairwise(ends)
    )
    return first, second


def seconds_of(work: Callable[[], object]) -> tuple[float, float]:
    """Return seconds of the clock and of the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - clock, time.process_time() - processor


def bench_eos(train: LabelledArrays, validation: LabelledArrays) -> None:
    """Print phases 2 and 3 as a share of phase 1."""
    place = choose_device("auto")
    fitted = []
    first = seconds_of(lambda: fitted.append(Erm(ErmConfig()).fit(train, validation=validation)))
    network, trace = fitted[0].network.to(place), fitted[0].trace
    assert isinstance(network.body, LayerStack)

    def head() -> None:
        with seeded(0, device=place):
            rows = place_rows(train, network, device=place)
            Eos(EosConfig()).refit_heads(network.body, rows, seed=0)

    later = [seconds_of(head) for _ in range(REPEATS)]
    clock, processor = (statistics.median(column) for column in zip(*later, strict=True))
    print(
        f"EOS, {train.n_rows:,} rows, phase 1 of {len(trace.records)} epochs: {first[0]:.1f} s "
        f"({first[1]:.1f} of the processor); phases 2 and 3: {clock:.1f} s ({processor:.1f}); "
        f"ratio {clock / first[0]:.2f} ({processor / first[1]:.2f}), goal 0.25"
    )


def step_seconds(strategy: EndToEnd, train: LabelledArrays) -> Callable[[], tuple[float, float]]:
    """Return a timer of some steps of a strategy, warm."""
    place = choose_device("auto")
    network = build_network(strategy.config.network, train).to(place).train()
    rows = place_rows(train, network, device=place)
    step = strategy.step(rows, network.body, seed=0)
    batches = list(strategy.batches(rows, network.body, seed=0).epoch())[:N_STEPS]

    def run() -> None:
        for batch in batches:
            step(batch, 0.0)

    run()
    return lambda: seconds_of(run)


def bench_steps(train: LabelledArrays) -> None:
    """Print a MetaBalance step in plain steps; the timers take turns."""
    training = TrainingConfig()
    timers = {
        "plain": step_seconds(Erm(ErmConfig(training=training)), train),
        "first order": step_seconds(MetaBalance(MetaBalanceConfig(training=training)), train),
        "second order": step_seconds(
            MetaBalance(MetaBalanceConfig(training=training, second_order=True)), train
        ),
    }
    found = [{name: timer() for name, timer in timers.items()} for _ in range(2 * REPEATS + 1)]
    for name, goal in (("first order", 2.2), ("second order", 4.0)):
        clock, processor = (
            statistics.median(one[name][which] / one["plain"][which] for one in found)
            for which in (0, 1)
        )
        print(f"MetaBalance step, {name}: {clock:.2f} plain steps ({processor:.2f}), goal {goal}")
    plain = statistics.median(one["plain"][0] for one in found) / N_STEPS
    print(f"plain step: {plain * 1e3:.2f} ms")


def main() -> None:
    """Run both on the best device there is."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data")
    train, validation = read_creditcard(folder)
    bench_steps(train)
    bench_eos(train, validation)


if __name__ == "__main__":
    main()

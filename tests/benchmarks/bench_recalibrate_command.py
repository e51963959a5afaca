"""How long ``whitecrow recalibrate`` takes on creditcard, from the shell to the shell.

Run it with ``python tests/benchmarks/bench_recalibrate_command.py``. It trains creditcard once, for
one epoch (what a recalibration costs does not depend on how good the network is), then times the
command on the data of the training and on newer rows, each as a process of its own. The goal is
20 seconds on two cores. Beside the seconds on the clock stand those on a processor: on a machine
that is shared with other work they are what the command itself takes.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

REPOSITORY = Path(__file__).resolve().parents[2]
REPEATS = 3
ONE_EPOCH = "[strategy.training]\nmax_epochs = 1\n"
SEGMENT_FREE_POLICIES = {
    "objectives of the contract": "",
    "class-dependent, strength chosen": '[post_processing]\nkind = "class_dependent"\n',
    "cost, row by row": (
        'review = {objective = "cost", review_cost = 5, friction_cost = 1}\n'
        'decline = {objective = "min_precision", min_precision = 0.9}\n'
    ),
}


def main() -> None:
    """Print the median of some runs of each kind, on the clock and on a processor."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    repeats = parser.parse_args().repeats
    root = Path(os.environ.get("WHITECROW_DATA_ROOT", REPOSITORY / "../shared/data")).resolve()
    data = root / "creditcard.parquet"
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "run.toml").write_text(ONE_EPOCH)
        whitecrow(folder, "train", data, "-c", "creditcard", "--config", folder / "run.toml")
        newer = folder / "newer.parquet"
        pl.read_parquet(data).slice(1).write_parquet(newer)
        for what, source in {"training data": data, "newer rows": newer}.items():
            for name, text in SEGMENT_FREE_POLICIES.items():
                report(folder, f"{what}, {name}", source, text, repeats)


def report(folder: Path, what: str, source: Path, policy: str, repeats: int) -> None:
    """Time one kind of recalibration and print it."""
    (folder / "policy.toml").write_text(policy)
    arguments = ["recalibrate", "creditcard", source, "--reason", "benchmark"]
    arguments += ["--policy", folder / "policy.toml"]
    seconds, busy = [], []
    for _ in range(repeats):
        started, used = time.perf_counter(), processor_seconds()
        whitecrow(folder, *arguments)
        seconds.append(time.perf_counter() - started)
        busy.append(processor_seconds() - used)
    print(
        f"{what}: median {statistics.median(seconds):.1f} s on the clock (slowest "
        f"{max(seconds):.1f} s), {statistics.median(busy):.1f} s on a processor",
        flush=True,
    )


def processor_seconds() -> float:
    """Seconds that ended child processes kept a processor busy."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def whitecrow(folder: Path, *arguments: object) -> None:
    """Run a command on the benchmark's own state folder."""
    command = [str(Path(sys.executable).with_name("whitecrow")), *map(str, arguments)]
    environment = {**os.environ, "WHITECROW_HOME": str(folder / "home")}
    subprocess.run(command, env=environment, check=True, capture_output=True)


if __name__ == "__main__":
    main()

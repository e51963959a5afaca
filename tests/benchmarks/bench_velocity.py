"""What features over time cost, beside bare Polars and beside per-entity pandas.

Run ``python tests/benchmarks/bench_velocity.py [CASE ...]``; without a case all are run, each in
a process of its own, so that a peak of memory is that case's. ``WHITECROW_BENCH_SCALE=0.1`` makes
the simulated tables smaller. Ratios are of medians in one process, the rivals taking turns.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import polars as pl

DATA = Path(os.environ.get("WHITECROW_DATA_ROOT", "../shared/data"))
SCALE = float(os.environ.get("WHITECROW_BENCH_SCALE", "1"))
ENTITIES = ("CUSTOMER_ID", "TERMINAL_ID")
WINDOWS = {"1h": "1h", "1d": "24h", "7d": "168h", "30d": "720h"}  # for people, for pandas
KIB_PER_GIB = 1024**2
REPEATS = 5
PANDAS_ENTITIES = 300
"""Entities of each kind that pandas works through; its time is scaled up by their rows."""

SIXTEEN: dict[str, Any] = {
    "name": "sixteen",
    "columns": {
        "id": "TRANSACTION_ID",
        "event_time": "TX_DATETIME",
        "amount": {"column": "TX_AMOUNT", "currency": "EUR"},
        "entities": list(ENTITIES),
        "drop": ["TX_FRAUD_SCENARIO", "TX_TIME_SECONDS", "TX_TIME_DAYS"],
    },
    "label": {"column": "TX_FRAUD", "delay": "7d"},
    "velocity": [
        {"entity": entity, "windows": list(WINDOWS), "aggregates": ["count", "amount_sum"]}
        for entity in ENTITIES
    ],
}


def card_stream() -> pl.DataFrame:
    return pl.read_parquet(DATA / "card_stream.parquet")


def ours(frame: pl.DataFrame) -> pl.DataFrame:
    """The sixteen features as the contract declares them, from conformed rows."""
    from features.contract import parse_contract
    from features.velocity_table import add_velocity

    return add_velocity(frame, parse_contract(SIXTEEN, source="benchmark"))


def bare_expressions(frame: pl.DataFrame) -> pl.DataFrame:
    """The same sixteen as a person writes them: rolling expressions over each entity."""
    one = pl.lit(1, dtype=pl.Int64).alias("one")
    minor = (pl.col("TX_AMOUNT") * 100).round(mode="half_to_even").cast(pl.Int64).alias("minor")
    expressions = [
        pl.col(value)
        .rolling_sum_by("TX_DATETIME", window_size=window, closed="left", min_samples=0)
        .over(entity)
        .alias(f"{entity}_{name}_{window}")
        for entity in ENTITIES
        for window in WINDOWS
        for name, value in (("count", "one"), ("amount_sum", "minor"))
    ]
    return frame.lazy().with_columns(one, minor).with_columns(expressions).collect()


def pandas_clocks(frame: pl.DataFrame) -> tuple[float, float]:
    """Seconds and core seconds of per-entity pandas rolling, as the handbook teaches it.

    Measured on entities drawn at random and scaled by their share of the rows; the handbook's
    final sort of the whole table is left out, in its favour.
    """
    parts = [_pandas_clocks_of(frame, entity) for entity in ENTITIES]
    return sum(wall for wall, _ in parts), sum(cpu for _, cpu in parts)


def _pandas_clocks_of(frame: pl.DataFrame, entity: str) -> tuple[float, float]:
    entities = frame[entity].unique().sort().sample(PANDAS_ENTITIES, seed=0)
    sample = frame.filter(pl.col(entity).is_in(entities.implode()))
    table = sample.to_pandas()
    wall, cpu = clocks_of(lambda: table.groupby(entity).apply(_rolled))
    return wall * frame.height / sample.height, cpu * frame.height / sample.height


def _rolled(rows: Any) -> Any:
    """One entity, as in the handbook's ``get_customer_spending_behaviour_features``."""
    rows = rows.sort_values("TX_DATETIME")
    rows.index = rows.TX_DATETIME
    for window in WINDOWS.values():
        total = rows["TX_AMOUNT"].rolling(window, closed="left").sum()
        count = rows["TX_AMOUNT"].rolling(window, closed="left").count()
        rows[f"count_{window}"], rows[f"amount_sum_{window}"] = list(count), list(total)
    rows.index = rows.TRANSACTION_ID
    return rows


def check_equal(frame: pl.DataFrame) -> None:
    """Stop where ours and the bare expressions do not agree: there is nothing to compare."""
    mine, theirs = ours(frame), bare_expressions(frame)
    for entity in ENTITIES:
        for window in WINDOWS:
            count, total = f"{entity}_count_{window}", f"{entity}_amount_sum_{window}"
            assert (mine[count] == theirs[count].cast(pl.Float64)).all(), count
            assert ((mine[total] * 100).round() == theirs[total]).all(), total


def clocks_of(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds on the wall, and of all cores together: the same however busy the machine is."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def seconds_of(work: Callable[[], object]) -> float:
    return clocks_of(work)[0]


def peak_gib() -> float:
    """The most memory that this process ever held, GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIB_PER_GIB


def case_sixteen() -> dict[str, Any]:
    """16 count and sum features of card_stream: ours, bare Polars, pandas."""
    from features.contract import parse_contract
    from features.ingestion.conforming import conform

    source = card_stream()
    contract = parse_contract(SIXTEEN, source="benchmark").resolve(source.columns)
    conformed = conform(source, contract)
    check_equal(conformed)
    timed: dict[str, Callable[[], object]] = {
        "ours": lambda: ours(conformed),
        "expressions": lambda: bare_expressions(conformed),
        "expressions_on_integer_ids": lambda: bare_expressions(source),
    }
    clocks: dict[str, list[tuple[float, float]]] = {name: [] for name in timed}
    for _ in range(REPEATS):
        for name, work in timed.items():
            clocks[name].append(clocks_of(work))
    wall = {name: median(each[0] for each in values) for name, values in clocks.items()}
    cpu = {name: median(each[1] for each in values) for name, values in clocks.items()}
    wall["pandas"], cpu["pandas"] = pandas_clocks(source)
    return {
        "rows": source.height,
        **{f"{name}_s": value for name, value in wall.items()},
        **{f"{name}_core_s": value for name, value in cpu.items()},
        "ours_over_expressions": wall["ours"] / wall["expressions"],
        "ours_over_expressions_core_s": cpu["ours"] / cpu["expressions"],
        "ours_over_expressions_on_integer_ids": wall["ours"] / wall["expressions_on_integer_ids"],
        "pandas_over_ours": wall["pandas"] / wall["ours"],
        "pandas_over_ours_core_s": cpu["pandas"] / cpu["ours"],
        "peak_gib": peak_gib(),
    }


def case_card_stream() -> dict[str, Any]:
    """The whole feature set that the shipped card_stream contract declares."""
    from features.contract import read_contract
    from features.ingestion.conforming import conform
    from features.labels import attach_labels
    from features.velocity import velocity_plan
    from features.velocity_table import add_velocity

    source = card_stream()
    contract = read_contract("card_stream").resolve(source.columns)
    rows = attach_labels(conform(source, contract), contract).frame
    clocks = [clocks_of(lambda: add_velocity(rows, contract)) for _ in range(3)]
    late = pl.duration(seconds=pl.col("TRANSACTION_ID").hash(seed=0) % 300)
    arriving = rows.with_columns(arrived=pl.col("TX_DATETIME") + late)
    as_arrived = seconds_of(lambda: add_velocity(arriving, contract, arrival="arrived"))
    return {
        "rows": rows.height,
        "features": len(velocity_plan(contract).features),
        "median_s": median(wall for wall, _ in clocks),
        "median_core_s": median(cpu for _, cpu in clocks),
        "as_arrived_within_five_minutes_s": as_arrived,
        "peak_gib": peak_gib(),
    }


def case_growth() -> dict[str, Any]:
    """One million and ten million simulated rows, in memory, the shipped feature set."""
    (small, small_cpu), (large, large_cpu) = (_growth_seconds(int(n * SCALE)) for n in (1e6, 1e7))
    return {
        "seconds_of_1_M_rows": small,
        "seconds_of_10_M_rows": large,
        "ratio": large / small,
        "ratio_of_cpu_seconds": large_cpu / small_cpu,
        "peak_gib": peak_gib(),
    }


def _growth_seconds(n_rows: int) -> tuple[float, float]:
    """Seconds, and seconds of all cores together."""
    from features.contract import read_contract
    from features.ingestion.conforming import conform
    from features.labels import attach_labels
    from features.simulation.transactions import simulate_transactions
    from features.velocity_table import add_velocity

    source = simulate_transactions(n_rows, seed=0)
    contract = read_contract("simulated_stream").resolve(source.columns)
    rows = attach_labels(conform(source, contract), contract).frame
    del source
    wall, cpu = zip(
        *(clocks_of(lambda: add_velocity(rows, contract)) for _ in range(3)), strict=True
    )
    return median(wall), median(cpu)


def case_memory() -> dict[str, Any]:
    """Thirty million simulated rows from file to feature table, through the disk."""
    with tempfile.TemporaryDirectory(prefix="bench-velocity-") as folder:
        passed, out = Path(folder) / "passed.parquet", Path(folder) / "table.parquet"
        # In a process of its own: this one's peak is the feature table's.
        subprocess.run([sys.executable, __file__, "--simulate", str(passed)], check=True)
        before = peak_gib()
        return {**_large_table(passed, out, Path(folder)), "peak_gib_before": before}


def _large_table(passed: Path, out: Path, scratch: Path) -> dict[str, Any]:
    from features.contract import read_contract
    from features.large_feature_table import write_large_feature_table

    lazy = pl.scan_parquet(passed)
    contract = read_contract("simulated_stream").resolve(lazy.collect_schema().names())
    wall, cpu = clocks_of(
        lambda: write_large_feature_table(passed, contract, out, scratch=scratch, input_types={})
    )
    return {
        "rows": lazy.select(pl.len()).collect().item(),
        "features": len(contract.numeric_features) + len(contract.categorical_features),
        "seconds": wall,
        "core_seconds": cpu,
        "peak_gib": peak_gib(),
        "table_gib_on_disk": out.stat().st_size / 1024**3,
    }


def simulate(passed: Path) -> None:
    """Write thirty million rows as validation would: typed by the contract."""
    from features.contract import read_contract
    from features.ingestion.conforming import conform
    from features.simulation.stream import SCHEMA
    from features.simulation.transactions import simulate_transactions_to

    raw = passed.with_name("raw.parquet")
    simulate_transactions_to(raw, int(3e7 * SCALE), seed=0)
    contract = read_contract("simulated_stream").resolve(SCHEMA.names())
    typed = conform(pl.DataFrame(schema=SCHEMA), contract).schema
    pl.scan_parquet(raw).cast(dict(typed)).sink_parquet(passed)
    raw.unlink()


CASES: dict[str, Callable[[], dict[str, Any]]] = {
    "sixteen": case_sixteen,
    "card_stream": case_card_stream,
    "growth": case_growth,
    "memory": case_memory,
}


def run_in_own_process(case: str) -> dict[str, Any]:
    """Return what a case found in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--here", case], stdout=subprocess.PIPE, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Print each figure of each case on a line of its own."""
    if sys.argv[1:2] == ["--simulate"]:
        simulate(Path(sys.argv[2]))
        return
    if sys.argv[1:2] == ["--here"]:
        print(json.dumps(CASES[sys.argv[2]]()))
        return
    for case in sys.argv[1:] or CASES:
        print(f"{case}: {CASES[case].__doc__}")
        found = run_in_own_process(case) | {"load_average": os.getloadavg()[0]}
        for name, value in found.items():
            shown = f"{value:,.3f}" if isinstance(value, float) else f"{value:,}"
            print(f"  {name:45} {shown:>14}", flush=True)


if __name__ == "__main__":
    main()

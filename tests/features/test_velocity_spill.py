"""Larger than memory: the same features row for row, and nothing left on the disk."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features import velocity_spill
from features.contract import Contract, parse_contract, read_contract
from features.ingestion.conforming import conform
from features.ingestion.data_error import DataError
from features.labels import attach_labels
from features.simulation.transactions import simulate_transactions
from features.velocity import velocity_plan
from features.velocity_spill import ScratchDiskFull, spilling
from features.velocity_table import add_velocity

REPOSITORY = Path(__file__).resolve().parents[2]
CUSTOMER_AGGREGATES = [
    "count", "amount_mean", "amount_max", "amount_std", "distinct:TERMINAL_ID",
    "share:ENTRY_MODE=chip", "seconds_since_last", "count_ratio:30d", "amount_to_mean",
]  # fmt: skip


def contract() -> Contract:
    """The simulated stream with features over time of both entities and of their pair."""
    document = read_contract("simulated_stream").model_dump(mode="json")
    document["velocity"] = [
        {"entity": "CUSTOMER_ID", "windows": ["1d", "7d"], "aggregates": CUSTOMER_AGGREGATES},
        {"entity": ["CUSTOMER_ID", "TERMINAL_ID"], "windows": ["7d"], "aggregates": ["count"]},
    ]
    document["label_rate"] = [{"entity": "TERMINAL_ID", "windows": ["7d", "30d"]}]
    return parse_contract(document, source="test")


CONTRACT = contract()
NAMES = velocity_plan(CONTRACT).names


def add_velocity_on_disk(
    frame: pl.DataFrame,
    declared: Contract,
    *,
    folder: Path,
    history: pl.DataFrame | None = None,
    arrival: str | None = None,
    rows_in_memory: int | None = None,
    chunk_rows: int = 700,
) -> pl.DataFrame:
    """The rows with their features, like ``add_velocity``, chunk by chunk through the disk."""
    tables = [(False, frame)] if history is None else [(True, history), (False, frame)]
    n_rows = sum(table.height for _, table in tables)
    with spilling(
        declared, folder, n_rows, arrival=arrival, rows_in_memory=rows_in_memory
    ) as spill:
        for is_history, table in tables:
            for chunk in table.iter_slices(chunk_rows):
                spill.add(chunk, is_history=is_history)
        made = list(spill.features())
    assert [part.height for part in made] == [c.height for c in frame.iter_slices(chunk_rows)]
    return pl.concat([frame, pl.concat(made)], how="horizontal")


@cache
def labelled(n_rows: int) -> pl.DataFrame:
    """Conformed rows of a simulated stream with their labels; some without a terminal or time."""
    stream = simulate_transactions(n_rows, seed=3, fraud_rate=0.05)
    frame = attach_labels(conform(stream, CONTRACT), CONTRACT).frame
    at = pl.int_range(pl.len())
    gaps = {
        "TERMINAL_ID": pl.when(at % 11 != 0).then("TERMINAL_ID"),
        "TX_DATETIME": pl.when(at % 13 != 0).then("TX_DATETIME"),
        "TX_AMOUNT": pl.when(at % 17 != 0).then("TX_AMOUNT"),
    }
    late = pl.duration(seconds=pl.col("TX_DATETIME").hash(seed=1) % 600)
    return frame.with_columns(**gaps).with_columns(ARRIVED=pl.col("TX_DATETIME") + late)


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    return labelled(6_000)


@settings(max_examples=8)
@given(
    rows_in_memory=st.integers(300, 2_000),
    chunk_rows=st.integers(200, 2_000),
    seed=st.integers(0, 99),
)
def test_partitions_give_what_memory_gives(
    tmp_path_factory: pytest.TempPathFactory, rows_in_memory: int, chunk_rows: int, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("scratch")
    shuffled = labelled(1_500).sample(fraction=1, shuffle=True, seed=seed)

    found = add_velocity_on_disk(
        shuffled, CONTRACT, folder=folder, rows_in_memory=rows_in_memory, chunk_rows=chunk_rows
    )

    assert found.equals(add_velocity(shuffled, CONTRACT))
    assert not list(folder.iterdir())


@pytest.mark.parametrize("arrival", [None, "ARRIVED"])
def test_history_and_arrival_are_carried_along(
    frame: pl.DataFrame, tmp_path: Path, arrival: str | None
) -> None:
    history, later = frame[:2_500], frame[2_500:]

    found = add_velocity_on_disk(
        later, CONTRACT, folder=tmp_path, history=history, arrival=arrival, rows_in_memory=2_000
    )

    assert found.equals(add_velocity(later, CONTRACT, history=history, arrival=arrival))


def test_one_entity_with_every_row_is_still_right(frame: pl.DataFrame, tmp_path: Path) -> None:
    lonely = frame.with_columns(CUSTOMER_ID=pl.lit("7"))

    found = add_velocity_on_disk(lonely, CONTRACT, folder=tmp_path, rows_in_memory=1_000)

    assert found.equals(add_velocity(lonely, CONTRACT))


def test_a_missing_column_is_named_and_nothing_stays(frame: pl.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="lacks column 'TX_AMOUNT'"):
        add_velocity_on_disk(frame.drop("TX_AMOUNT"), CONTRACT, folder=tmp_path)

    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("failure", [KeyboardInterrupt, MemoryError, OSError(errno.EIO, "bad")])
def test_a_failure_in_the_middle_leaves_nothing(
    frame: pl.DataFrame, tmp_path: Path, failure: Any
) -> None:
    def interrupted() -> None:
        with spilling(CONTRACT, tmp_path, frame.height, rows_in_memory=1_000) as spill:
            spill.add(frame)
            next(spill.features())
            raise failure

    with pytest.raises(failure if isinstance(failure, type) else OSError):
        interrupted()

    assert not list(tmp_path.iterdir())


def test_what_a_killed_run_left_is_removed_by_the_next(
    frame: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(velocity_spill, "_YOUNG_SECONDS", 0)
    program = """
        import sys, time
        from pathlib import Path
        from features.contract import read_contract
        from features.velocity_spill import spilling

        contract = read_contract("simulated_stream")
        with spilling(contract, Path(sys.argv[1]), 1_000) as spill:
            (spill.folder / "half-done.arrow").write_bytes(b"half")
            print("begun", flush=True)
            time.sleep(60)
    """
    running = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), str(tmp_path)],
        stdout=subprocess.PIPE,
        cwd=REPOSITORY,
    )
    assert running.stdout is not None
    with running, running.stdout as told:
        assert told.readline() == b"begun\n"
        add_velocity_on_disk(frame, CONTRACT, folder=tmp_path)
        assert len(list(tmp_path.glob(".velocity-*/half-done.arrow"))) == 1  # it lives: kept
        os.kill(running.pid, signal.SIGKILL)

    add_velocity_on_disk(frame, CONTRACT, folder=tmp_path)

    assert not list(tmp_path.iterdir())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 300 kB; needs the right to mount one."""
    command = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount a small file system: {done.stderr.strip()}")
    yield tmp_path
    subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


def test_a_full_disk_is_one_line_and_leaves_nothing(frame: pl.DataFrame, small_disk: Path) -> None:
    with pytest.raises(ScratchDiskFull, match=r"full: .* of 6,000 rows .* \(WHITECROW_HOME\)"):
        add_velocity_on_disk(frame, CONTRACT, folder=small_disk, rows_in_memory=1_000)

    assert not list(small_disk.iterdir())


def test_rows_that_will_not_fit_are_refused_after_the_first_chunk(
    frame: pl.DataFrame, tmp_path: Path
) -> None:
    started = time.monotonic()
    with (
        pytest.raises(ScratchDiskFull, match="10,000,000,000,000 rows"),
        spilling(CONTRACT, tmp_path, 10**13, rows_in_memory=10**13) as spill,
    ):
        spill.add(frame)

    assert time.monotonic() - started < 30
    assert not list(tmp_path.iterdir())

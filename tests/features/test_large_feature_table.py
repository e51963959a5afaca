"""A table made chunk by chunk is the table made in memory."""

from datetime import UTC
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from features import large_feature_table, velocity_spill
from features.contract import Contract, parse_contract, read_contract
from features.feature_table import build_feature_table, input_types_of
from features.ingestion.conforming import conform
from features.labels import LabelError
from features.large_feature_table import is_large, write_large_feature_table
from features.simulation.transactions import simulate_transactions
from features.velocity_table import WindowLongerThanHistory

VELOCITY = {"entity": "CUSTOMER_ID", "windows": ["1d", "7d"], "aggregates": ["count", "amount_std"]}


def contract(**changes: Any) -> Contract:
    document = read_contract("simulated_stream").model_dump(mode="json")
    document["velocity"] = [VELOCITY]
    document["label_rate"] = [{"entity": "TERMINAL_ID", "windows": ["30d"]}]
    for key, value in changes.items():
        document[key] = document[key] | value if isinstance(value, dict) else value
    return parse_contract(document, source="test")


@pytest.fixture(scope="module")
def stream() -> pl.DataFrame:
    return simulate_transactions(4_000, seed=5, fraud_rate=0.05)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_feature_table, "CHUNK_ROWS", 700)
    monkeypatch.setattr(velocity_spill, "ROWS_IN_MEMORY", 900)


def write(frame: pl.DataFrame, path: Path) -> Path:
    frame.write_parquet(path, row_group_size=500)
    return path


def check_same(
    rows: pl.DataFrame,
    declared: Contract,
    folder: Path,
    test: pl.DataFrame | None = None,
    **how: Any,
) -> None:
    types = input_types_of(rows.schema, declared)
    typed = conform(rows, declared)
    late = None if test is None else conform(test, declared)

    made = write_large_feature_table(
        write(typed, folder / "passed.parquet"),
        declared,
        folder / "table.parquet",
        scratch=folder / "scratch",
        input_types=types,
        test_passed=None if late is None else write(late, folder / "test.parquet"),
        **how,
    )

    expected = build_feature_table(typed, declared, input_types=types, test=late, **how)
    assert_frame_equal(pl.read_parquet(made.path), expected.frame, check_exact=True)
    assert made.feature_set == expected.feature_set
    assert made.counts == expected.counts
    assert not list((folder / "scratch").glob(".*"))


def test_labels_parts_and_features_are_those_made_in_memory(
    stream: pl.DataFrame, tmp_path: Path
) -> None:
    check_same(stream, contract(), tmp_path)


def test_rows_may_stand_in_any_order(stream: pl.DataFrame, tmp_path: Path) -> None:
    shuffled = stream.sample(fraction=1, shuffle=True, seed=1)

    check_same(shuffled, contract(), tmp_path)


def test_a_separate_test_file_sees_the_fitting_rows_as_its_past(
    stream: pl.DataFrame, tmp_path: Path
) -> None:
    check_same(stream[:3_000], contract(), tmp_path, stream[3_000:])


def test_rows_before_the_begin_are_the_others_past_and_stand_in_no_part(
    stream: pl.DataFrame, tmp_path: Path
) -> None:
    begin = stream["TX_DATETIME"][1_000]
    check_same(stream, contract(), tmp_path, since=begin)

    table = pl.read_parquet(tmp_path / "table.parquet")
    features = list(contract().velocity_features)
    whole = build_feature_table(
        stream, contract(), input_types=input_types_of(stream.schema, contract())
    )
    since = whole.frame.filter(pl.col("event_time") >= begin.replace(tzinfo=UTC))
    assert table["event_time"].min() == begin.replace(tzinfo=UTC)
    assert_frame_equal(
        table.select("row_id", *features), since.select("row_id", *features), check_exact=True
    )
    cut_off = build_feature_table(
        stream.filter(pl.col("TX_DATETIME") >= begin),
        contract(),
        input_types=input_types_of(stream.schema, contract()),
    )
    assert not cut_off.frame.select(features).equals(table.select(features))


def test_a_table_without_an_id_numbers_its_rows(stream: pl.DataFrame, tmp_path: Path) -> None:
    drop = ["TX_FRAUD_SCENARIO", "TRANSACTION_ID"]
    declared = contract(
        columns={"id": None, "drop": drop}, expectations={"columns": {}}
    )  # fmt: skip

    check_same(stream[:3_000], declared, tmp_path, stream[3_000:])


def test_a_contract_without_features_over_time_needs_no_scratch(
    stream: pl.DataFrame, tmp_path: Path
) -> None:
    check_same(stream, contract(velocity=[], label_rate=[]), tmp_path)

    assert not (tmp_path / "scratch").exists()


def test_labels_of_another_table_are_joined(stream: pl.DataFrame, tmp_path: Path) -> None:
    label = {"source": "elsewhere", "key": "TRANSACTION_ID", "column": "OUTCOME"}
    frauds = stream.filter(pl.col("TX_FRAUD") == 1)
    labels = frauds.select("TRANSACTION_ID", "REPORTED_AT", OUTCOME="TX_FRAUD")

    check_same(
        stream.drop("TX_FRAUD", "REPORTED_AT"), contract(label=label), tmp_path, labels=labels
    )


@pytest.mark.parametrize(
    ("days", "fraud", "error"), [(5, 0.05, WindowLongerThanHistory), (90, 0, LabelError)]
)
def test_what_memory_refuses_is_refused(
    tmp_path: Path, days: int, fraud: float, error: type[Exception]
) -> None:
    """The longest window is thirty days; without fraud there is one class only."""
    stream = simulate_transactions(1_000, seed=5, fraud_rate=fraud, days=days)
    declared = contract(
        label={"delay": "1d", "reported_at": None}, columns={"drop": ["REPORTED_AT"]}
    )

    with pytest.raises(error):
        write_large_feature_table(
            write(conform(stream, declared), tmp_path / "passed.parquet"),
            declared,
            tmp_path / "table.parquet",
            scratch=tmp_path,
            input_types={},
        )


def test_a_table_is_large_by_its_rows_and_columns(
    stream: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed = write(stream, tmp_path / "passed.parquet")
    declared = contract()
    n_values = stream.height * (len(declared.source_columns) + 5 + 4 + 5 + 6)
    assert not is_large(passed, declared)

    monkeypatch.setattr(large_feature_table, "_MOST_VALUES_IN_MEMORY", n_values)
    assert not is_large(passed, declared)
    assert is_large(passed, declared, test_passed=passed)

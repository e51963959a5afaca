"""Every shipped contract reads its data, types it and labels it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from features.contract import Contract, read_contract, shipped_contracts
from features.ingestion.conforming import conform
from features.ingestion.tables import read_table
from features.labels import LabelledFrame, attach_labels
from features.simulation.loans import simulate_loans
from features.simulation.transactions import simulate_transactions

# File, rows and positives as the README of the data gives them.
REAL = {
    "creditcard": ("creditcard.parquet", 284_807, 492),
    "credit_default": ("credit_default.parquet", 30_000, 6_636),
    "loan_data": ("loan_data.parquet", 9_578, 1_533),
    "lending_club": ("lending_club_2018.parquet", 31_766, 8_082),
    "card_stream": ("card_stream.parquet", 1_754_155, 14_681),
}
TWINS = {"credit_default": "credit_default.csv.gz", "loan_data": "loan_data.csv"}


def labelled(
    frame: pl.DataFrame, name: str, *, as_of: datetime | None = None
) -> tuple[Contract, LabelledFrame]:
    contract = read_contract(name).resolve(frame.columns)
    return contract, attach_labels(conform(frame, contract), contract, as_of=as_of)


def assert_derived(contract: Contract, frame: pl.DataFrame) -> None:
    """Every derived column is valid SQL and has more than one value."""
    for name, expression in contract.derived.items():
        assert frame.select(pl.sql_expr(expression).alias(name))[name].n_unique() > 1


def test_a_contract_is_shipped_for_every_real_and_simulated_data_set() -> None:
    assert set(shipped_contracts()) == {*REAL, "simulated_stream", "simulated_loans"}


@pytest.mark.parametrize("name", REAL)
def test_the_real_rows_and_positives_are_all_there(name: str, data_root: Path) -> None:
    """Of the card stream too, once the labels of its last week are known."""
    file, n_rows, n_positive = REAL[name]
    as_of = datetime(2018, 10, 8, tzinfo=UTC) if name == "card_stream" else None

    contract, found = labelled(read_table(data_root / file), name, as_of=as_of)

    assert found.known.height == n_rows
    assert found.known["label"].sum() == n_positive
    assert_derived(contract, found.frame.gather_every(97))


@pytest.mark.parametrize("name", TWINS)
def test_the_csv_gives_the_same_rows_as_the_parquet_file(name: str, data_root: Path) -> None:
    _, from_csv = labelled(read_table(data_root / TWINS[name]), name)
    _, from_parquet = labelled(read_table(data_root / REAL[name][0]), name)

    assert from_csv.frame.equals(from_parquet.frame)


def test_the_last_week_of_the_card_stream_has_no_labels_yet(data_root: Path) -> None:
    path = data_root / "card_stream.parquet"
    _, found = labelled(read_table(path), "card_stream")

    newest = found.known["TX_DATETIME"].max()
    assert found.as_of is not None
    assert newest <= found.as_of - timedelta(days=7)
    assert found.n_immature == found.frame.height - found.known.height > 0


@pytest.mark.parametrize(
    ("name", "frame"),
    [
        ("simulated_stream", simulate_transactions(5_000, seed=3)),
        ("simulated_loans", simulate_loans(5_000, seed=3)),
    ],
)
def test_simulated_rows_fit_their_contract(name: str, frame: pl.DataFrame) -> None:
    contract, found = labelled(frame, name)

    assert found.n_unlabelled == 0
    assert 0 < found.n_immature < frame.height / 3
    assert_derived(contract, found.frame)


def test_the_card_stream_contract_reads_a_stream_without_the_extra_clocks() -> None:
    names = ["TRANSACTION_ID", "TX_DATETIME", "CUSTOMER_ID", "TERMINAL_ID", "TX_AMOUNT",
             "TX_FRAUD", "TX_FRAUD_SCENARIO"]  # fmt: skip
    contract, found = labelled(simulate_transactions(5_000, seed=3).select(names), "card_stream")

    assert contract.columns.drop == ("TX_FRAUD_SCENARIO",)
    assert found.known["label"].sum() > 0


@pytest.mark.parametrize("name", [*REAL, "simulated_stream", "simulated_loans"])
def test_no_shipped_feature_says_who_somebody_is(name: str) -> None:
    contract = read_contract(name)
    protected = {"sex", "marriage", "age", "age_band", "region", "zip_code", "addr_state"}

    features = {*contract.numeric_features, *contract.categorical_features}
    assert protected.isdisjoint(feature.lower() for feature in features)


@pytest.mark.parametrize("name", [*REAL, "simulated_stream", "simulated_loans"])
def test_reasons_are_worded_for_features_only(name: str) -> None:
    """A misspelt column would silently keep its raw name in front of a client."""
    contract = read_contract(name)
    patterns = tuple(p.rstrip("*") for p in contract.columns.numeric if p.endswith("*"))
    features = {*contract.numeric_features, *contract.categorical_features}

    for column in contract.reasons.text:
        assert column in features or column.startswith(patterns), column

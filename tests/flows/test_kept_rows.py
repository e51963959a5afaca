"""What is kept with a version: enough for a later policy, nothing that must not lie in clear."""

import numpy as np
import polars as pl
import pytest

from features.contract import Contract, parse_contract
from flows.kept_rows import (
    MOST_SEGMENT_VALUES,
    calibration_frame,
    row_digests,
    segment_columns,
    write_training_segments,
)

SHOP = {
    "name": "shop",
    "columns": {
        "id": "ORDER",
        "event_time": "AT",
        "amount": {"column": "AMOUNT", "currency": "EUR"},
        "categorical": ["COUNTRY", "EMAIL"],
        "pii": ["EMAIL"],
    },
    "label": {"column": "FRAUD"},
    "derived": {"is_night": "AMOUNT > 1", "ratio": "AMOUNT / 2"},
}


def contract(**columns: object) -> Contract:
    return parse_contract(SHOP | {"columns": SHOP["columns"] | columns}, source="tests")


@pytest.fixture
def table() -> pl.DataFrame:
    n_rows = MOST_SEGMENT_VALUES + 1
    return pl.DataFrame(
        {
            "row_id": [f"order {n}" for n in range(n_rows)],
            "event_time": [None] * n_rows,
            "amount_minor": range(n_rows),
            "COUNTRY": ["DE", "FR", None] * (n_rows // 3),
            "EMAIL": ["someone@example.org"] * n_rows,
            "is_night": [0.0, 1.0, 1.0] * (n_rows // 3),
            "ratio": [number / 2 for number in range(n_rows)],
            "label": [1, 0, 0] * (n_rows // 3),
        }
    )


def test_categories_and_derived_columns_of_few_values_segment_rows(table) -> None:
    assert segment_columns(table, contract()) == ["COUNTRY", "is_night"]


def test_a_derived_column_that_the_contract_segments_by_is_kept_whatever_it_holds(table) -> None:
    named = parse_contract(SHOP | {"policy": {"segments": ["ratio"]}}, source="tests")

    assert segment_columns(table, named) == ["COUNTRY", "is_night", "ratio"]


def test_logits_stand_beside_what_a_policy_needs(table) -> None:
    logits = np.stack([-np.arange(201.0), np.arange(201.0)], axis=1).astype(np.float32)

    kept = calibration_frame(table, contract(), ["COUNTRY"], logits)

    assert kept.columns == [
        "row_id", "label", "amount_minor", "event_time", "COUNTRY", "logit_negative",
        "logit_positive",
    ]  # fmt: skip
    assert kept["logit_positive"].to_list() == logits[:, 1].tolist()


def test_an_id_that_is_personal_is_replaced_by_the_row_number(table) -> None:
    logits = np.zeros((201, 2), np.float32)

    kept = calibration_frame(table, contract(pii=["ORDER"]), [], logits)

    assert kept["row_id"].to_list()[:3] == ["0", "1", "2"]


def test_training_rows_are_counted_by_combination(table, tmp_path) -> None:
    write_training_segments(tmp_path / "counts.parquet", table, ["COUNTRY", "is_night"])

    found = pl.read_parquet(tmp_path / "counts.parquet").sort("COUNTRY", nulls_last=True)
    assert found.rows() == [("DE", 0.0, 0, 67), ("FR", 1.0, 67, 0), (None, 1.0, 67, 0)]


def test_without_columns_training_rows_are_counted_as_one(table, tmp_path) -> None:
    write_training_segments(tmp_path / "counts.parquet", table, [])

    assert pl.read_parquet(tmp_path / "counts.parquet").rows() == [(134, 67)]


def test_rows_that_a_network_cannot_tell_apart_have_one_digest() -> None:
    other_nan = np.array([0x7FC00001], dtype=np.uint32).view(np.float32)[0]
    numeric = np.array([[0.0, np.nan], [-0.0, other_nan], [0.0, 1.0], [1.0, np.nan]], np.float32)
    categorical = np.array([[1], [1], [1], [1]], np.int64)

    first, same, *others = row_digests(numeric, categorical).tolist()

    assert first == same
    assert len({first, *others}) == 3
    assert row_digests(numeric[:1], categorical[:1] + 1)[0] != first

"""Rows are typed by the contract; what does not fit is refused by field."""

from datetime import UTC, datetime
from typing import Any

import pytest
from polars.testing import assert_frame_equal

from features.contract import parse_contract
from features.ingestion.conforming import conform
from serving.refusals import RequestRefused
from serving.requests import RowReader, is_sendable, request_rows
from serving.scorer import Scorer


@pytest.fixture(scope="module")
def reader(scorer: Scorer) -> RowReader:
    return RowReader(scorer.bundle.contract, scorer.bundle.feature_set.input_types)


def test_a_row_is_typed_as_a_conformed_table(reader: RowReader, shop_row) -> None:
    assert reader.read(shop_row()) == {
        "ORDER_ID": "17",
        "PLACED_AT": datetime(2026, 3, 1, 12, tzinfo=UTC),
        "CUSTOMER": "5",
        "AMOUNT": 100.0,
        "AGE_DAYS": 500.0,
        "DISTANCE": 1.0,
        "COUNTRY": "DE",
        "DEVICE": "1",
    }


@pytest.mark.parametrize("value", [..., None])
@pytest.mark.parametrize("name", ["DISTANCE", "DEVICE"])
def test_a_missing_optional_field_is_null(
    reader: RowReader, shop_row, name: str, value: Any
) -> None:
    assert reader.read(shop_row(**{name: value}))[name] is None


@pytest.mark.parametrize("name", ["AMOUNT", "AGE_DAYS", "COUNTRY"])
def test_null_says_that_a_required_feature_is_not_known(
    reader: RowReader, shop_row, name: str
) -> None:
    assert reader.read(shop_row(**{name: None}))[name] is None


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"AMOUNT": ...}, "missing_field", "AMOUNT"),
        ({"ORDER_ID": ...}, "missing_field", "ORDER_ID"),
        ({"PLACED_AT": ...}, "missing_field", "PLACED_AT"),
        ({"PLACED_AT": None}, "missing_field", "PLACED_AT"),
        ({"ORDER_ID": None}, "missing_field", "ORDER_ID"),
        ({"CUSTOMER": None}, "missing_field", "CUSTOMER"),
        ({"AMOUNT": "100"}, "wrong_type", "AMOUNT"),
        ({"AMOUNT": True}, "wrong_type", "AMOUNT"),
        ({"AMOUNT": [1]}, "wrong_type", "AMOUNT"),
        ({"AMOUNT": {"value": 1}}, "wrong_type", "AMOUNT"),
        ({"AMOUNT": 1e39}, "out_of_range", "AMOUNT"),
        ({"AMOUNT": 10**400}, "out_of_range", "AMOUNT"),
        ({"AMOUNT": -(10**5000)}, "out_of_range", "AMOUNT"),
        ({"ORDER_ID": 1.5}, "wrong_type", "ORDER_ID"),
        ({"ORDER_ID": False}, "wrong_type", "ORDER_ID"),
        ({"ORDER_ID": 2**63}, "out_of_range", "ORDER_ID"),
        ({"ORDER_ID": 10**5000}, "out_of_range", "ORDER_ID"),
        ({"COUNTRY": 49}, "wrong_type", "COUNTRY"),
        ({"DEVICE": "1"}, "wrong_type", "DEVICE"),
        ({"DEVICE": 1.0}, "wrong_type", "DEVICE"),
        ({"DEVICE": True}, "wrong_type", "DEVICE"),
        ({"DEVICE": 10**5000}, "out_of_range", "DEVICE"),
        ({"PLACED_AT": "soon"}, "invalid_timestamp", "PLACED_AT"),
        ({"PLACED_AT": 1500000000}, "wrong_type", "PLACED_AT"),
        ({"IS_FRAUD": 0}, "unknown_field", "IS_FRAUD"),
        ({"IS_NIGHT": 0}, "unknown_field", "IS_NIGHT"),
        ({"X" * 500: 0}, "unknown_field", "X" * 63 + "…"),
    ],
)
def test_what_does_not_fit_is_refused_by_field(
    reader: RowReader, shop_row, change: dict[str, Any], code: str, field: str
) -> None:
    with pytest.raises(RequestRefused) as refusal:
        reader.read(shop_row(**change))

    error = refusal.value.to_json()["error"]
    assert (error["code"], error["field"], error["retry"]) == (code, field, False)
    assert refusal.value.status == 422
    assert "\n" not in error["message"]


def test_a_misspelt_field_is_named_beside_the_missing_one(reader: RowReader, shop_row) -> None:
    with pytest.raises(RequestRefused, match="AMOUNT is required. The request has 'AMOUNTT'"):
        reader.read(shop_row(AMOUNT=..., AMOUNTT=100.0))


def test_messages_never_repeat_a_value(reader: RowReader, shop_row) -> None:
    for name in shop_row():
        with pytest.raises(RequestRefused) as refusal:
            reader.read(shop_row(**{name: [4111111111111111]}))

        assert "4111" not in str(refusal.value)


def test_unknown_fields_are_ignored_where_the_contract_says_so(
    scorer: Scorer, shop_contract, shop_row
) -> None:
    contract = parse_contract(
        shop_contract | {"policy": {"unknown_fields": "ignore"}}, source="tests"
    )
    reader = RowReader(contract, scorer.bundle.feature_set.input_types)

    assert reader.read(shop_row(CHANNEL="web")) == reader.read(shop_row())


def test_groups_may_be_sent_and_are_not_read(scorer: Scorer, shop_contract, shop_row) -> None:
    columns = shop_contract["columns"] | {"groups": ["GENDER"]}
    contract = parse_contract(shop_contract | {"columns": columns}, source="tests")
    reader = RowReader(contract, scorer.bundle.feature_set.input_types)

    assert "GENDER" not in reader.read(shop_row(GENDER="f"))


@pytest.mark.parametrize(
    ("kind", "accepted", "text"),
    [
        ("number", 2, "2"),
        ("number", 2.0, "2"),
        ("number", 0.5, "0.5"),
        ("integer", 2, "2"),
        ("boolean", True, "true"),
        ("text", "2", "2"),
    ],
)
def test_a_category_is_sent_in_the_type_of_the_table(
    scorer: Scorer, shop_row, kind: str, accepted: Any, text: str
) -> None:
    reader = RowReader(scorer.bundle.contract, {"COUNTRY": kind, "DEVICE": "integer"})

    assert reader.read(shop_row(COUNTRY=accepted))["COUNTRY"] == text
    with pytest.raises(RequestRefused, match="COUNTRY must be"):
        reader.read(shop_row(COUNTRY=2 if kind in ("boolean", "text") else "2"))


def test_a_truth_value_is_a_number_only_where_the_table_has_truth_values(
    scorer: Scorer, shop_row
) -> None:
    reader = RowReader(scorer.bundle.contract, {"AGE_DAYS": "boolean", "DEVICE": "integer"})

    assert reader.read(shop_row(AGE_DAYS=True))["AGE_DAYS"] == 1.0
    with pytest.raises(RequestRefused, match="AGE_DAYS must be true, false or null"):
        reader.read(shop_row(AGE_DAYS=1))


def test_a_table_sent_row_by_row_arrives_as_it_was(
    reader: RowReader, scorer: Scorer, table
) -> None:
    contract, types = scorer.bundle.contract, scorer.bundle.feature_set.input_types
    frame = conform(table(300), contract)

    rows = request_rows(frame, contract, types)
    arrived = reader.frame([reader.read(row) for row in rows])

    assert_frame_equal(arrived, frame.select(arrived.columns))
    assert rows[0]["DEVICE"] in (None, 1, 2)
    assert rows[1]["ORDER_ID"] == 1


def test_rows_without_a_key_or_with_infinities_cannot_be_sent(scorer: Scorer, table) -> None:
    contract, types = scorer.bundle.contract, scorer.bundle.feature_set.input_types
    frame = table(4)
    frame[0, "CUSTOMER"] = None
    frame[1, "AMOUNT"] = float("inf")
    frame[2, "AMOUNT"] = None

    assert is_sendable(frame, contract, types).to_list() == [False, False, True, True]

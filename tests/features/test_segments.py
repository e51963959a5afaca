"""Segments: spelt alike in tables and requests, and only by columns that may decide."""

from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.contract import Contract, ContractError, parse_contract
from features.segments import segment_keys, segment_keys_of_requests

SHOP = {
    "name": "shop",
    "columns": {
        "amount": {"column": "SUM", "currency": "EUR"},
        "entities": ["CARD"],
        "numeric": ["AGE"],
        "categorical": ["WAY", "COUNTRY", "MAIL"],
        "pii": ["MAIL"],
        "groups": ["SEX"],
        "drop": ["NOTE"],
    },
    "label": {"column": "IS_FRAUD"},
    "split": {"by": "random"},
    "derived": {"is_large": "SUM > 100"},
}


def shop(segments: list[str], **changes: Any) -> Contract:
    return parse_contract(SHOP | {"policy": {"segments": segments}} | changes, source="shop.toml")


def test_values_are_joined_in_the_order_of_the_columns() -> None:
    rows = pl.DataFrame({"WAY": ["web", "shop", None], "is_large": [1.0, None, 0.0]})

    assert segment_keys(rows, ["WAY"]).tolist() == ["web", "shop", None]
    assert segment_keys(rows, ["is_large", "WAY"]).tolist() == ["1.0 | web", None, None]
    assert segment_keys(rows, []) is None
    assert segment_keys_of_requests([{}], []) is None


text = st.none() | st.text(max_size=5)


@given(st.lists(st.fixed_dictionaries({"WAY": text, "COUNTRY": text}), max_size=8))
def test_a_request_spells_its_segment_as_a_table_does(rows: list[dict[str, str | None]]) -> None:
    table = pl.DataFrame(rows, schema={"WAY": pl.String, "COUNTRY": pl.String})

    for columns in (["WAY"], ["WAY", "COUNTRY"]):
        expected = segment_keys(table, columns).tolist()
        assert segment_keys_of_requests(rows, columns).tolist() == expected


@pytest.mark.parametrize("names", [[], ["WAY"], ["COUNTRY", "is_large"]])
def test_categories_and_derived_columns_may_segment(names: list[str]) -> None:
    assert list(shop(names).policy.segments) == names


def test_a_pattern_of_categories_may_be_segmented_by_before_it_is_resolved() -> None:
    columns = SHOP["columns"] | {"categorical": ["W*"], "pii": []}

    assert shop(["WAY"], columns=columns).policy.segments == ("WAY",)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("SEX", "policy.segments names 'SEX', which is under columns.groups: groups are measured"),
        ("MAIL", "policy.segments names 'MAIL', which is under columns.pii: a policy keeps"),
        ("AGE", "policy.segments names 'AGE', which is neither a categorical nor a derived column"),
        ("SUM", "'SUM', which is neither a categorical nor a derived column"),
        ("CARD", "'CARD', which is neither"),
        ("NOTE", "'NOTE', which is neither"),
        ("IS_FRAUD", "'IS_FRAUD', which is neither"),
        ("COUNTRI", "'COUNTRI', which is neither .*; did you mean 'COUNTRY'?"),
    ],
)
def test_other_columns_are_refused_in_one_line(name: str, message: str) -> None:
    with pytest.raises(ContractError, match=message) as caught:
        shop([name])

    assert "\n" not in str(caught.value)


def test_a_column_named_twice_is_refused() -> None:
    with pytest.raises(ContractError, match="policy.segments names 'WAY' twice: keep one"):
        shop(["WAY", "WAY"])

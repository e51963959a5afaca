"""Reasons from features over time: said in words, and silent about what is denied."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from features.contract import Contract, parse_contract
from serving.scored import ScoredRow
from serving.velocity_words import velocity_columns, velocity_words
from serving.verification import load_scorer


@pytest.fixture
def contract(shop_contract: dict[str, Any]) -> Contract:
    """A shop with one feature of every kind."""
    columns = shop_contract["columns"] | {"entities": ["CUSTOMER", "CARD"]}
    aggregates = [
        "count", "amount_sum", "amount_mean", "amount_max", "amount_min", "amount_std",
        "amount_to_mean", "seconds_since_last", "distinct:CARD", "share:COUNTRY=DE",
        "count_ratio:30d", "amount_mean_ratio:30d",
    ]  # fmt: skip
    return parse_contract(
        shop_contract
        | {
            "columns": columns,
            "velocity": [
                {"entity": "CUSTOMER", "windows": ["1h"], "aggregates": aggregates},
                {"entity": ["CUSTOMER", "CARD"], "windows": ["24h"], "aggregates": ["count"]},
            ],
            "label_rate": [{"entity": "CARD", "windows": ["30d"]}],
        },
        source="tests",
    )


def test_every_kind_of_feature_has_words(contract: Contract) -> None:
    words = velocity_words(contract)

    assert tuple(words) == contract.velocity_features
    assert all(text.startswith("Unusual ") and "{" not in text for text in words.values())
    assert words["CUSTOMER_count_1h"] == (
        "Unusual number of transactions of this CUSTOMER in the last 1h"
    )
    assert words["CUSTOMER_CARD_count_1d"] == (
        "Unusual number of transactions of this CUSTOMER with this CARD in the last 1d"
    )
    assert words["CUSTOMER_share_COUNTRY_DE_1h"] == (
        "Unusual share of COUNTRY DE of this CUSTOMER in the last 1h"
    )
    assert words["CARD_label_rate_30d"] == (
        "Unusual share of frauds among earlier transactions of this CARD (30d)"
    )


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("CUSTOMER_count_1h", {"CUSTOMER"}),
        ("CUSTOMER_amount_to_mean_1h", {"CUSTOMER", "AMOUNT"}),
        ("CUSTOMER_distinct_CARD_1h", {"CUSTOMER", "CARD"}),
        ("CUSTOMER_CARD_count_1d", {"CUSTOMER", "CARD"}),
        ("CARD_label_rate_30d", {"CARD", "IS_FRAUD"}),
    ],
)
def test_a_feature_tells_of_the_columns_it_looks_at(
    contract: Contract, name: str, columns: set[str]
) -> None:
    assert velocity_columns(contract)[name] == columns


@pytest.mark.parametrize(
    ("deny", "named"),
    [
        ([], {"AMOUNT", "CUSTOMER_count_1d", "CUSTOMER_label_rate_7d"}),
        (["CUSTOMER"], {"AMOUNT"}),
        (["IS_FRAUD"], {"AMOUNT", "CUSTOMER_count_1d"}),
        (["CUSTOMER_count_1d"], {"AMOUNT", "CUSTOMER_label_rate_7d"}),
    ],
)
def test_features_of_a_denied_column_are_not_named(
    new_home, corner_contract, shop_row, tmp_path: Path, *, deny: list[str], named: set[str]
) -> None:
    contract = corner_contract | {"reasons": {"deny": ["DISTANCE", *deny]}}
    scorer = load_scorer(new_home(tmp_path, contract=contract), "corner")

    # Log-odds -2 + 1 - 1 + 0.5, and of the past 0.5 * 4 + 2 * 0.5.
    (row,) = scorer.score_rows([shop_row()], np.array([[4.0, 0.0, 0.5, 0.0]]))

    assert isinstance(row, ScoredRow)
    assert row.decision == "decline"
    assert {reason.column for reason in row.reasons} == named

"""Row rules flag a row and send it to review at least; they never refuse it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.contract import parse_contract
from features.contract_blocks import ColumnRule, Expectations
from serving.row_rules import RowRules
from serving.scorer import Scorer


@pytest.mark.parametrize(
    ("change", "flags"),
    [
        ({}, ()),
        ({"AMOUNT": 0}, ()),
        ({"AMOUNT": 10000}, ()),
        ({"AMOUNT": -0.01}, ("rule:AMOUNT.min",)),
        ({"AMOUNT": 10000.01}, ("rule:AMOUNT.max",)),
        ({"AMOUNT": None}, ()),
        ({"AGE_DAYS": None}, ("rule:AGE_DAYS.null",)),
        ({"ORDER_ID": "17a"}, ("rule:ORDER_ID.pattern",)),
        ({"ORDER_ID": "17\n"}, ("rule:ORDER_ID.pattern",)),
        ({"DEVICE": None}, ()),
        ({"DEVICE": 3}, ("unknown_category:DEVICE", "rule:DEVICE.values")),
        ({"COUNTRY": "ZZ"}, ("unknown_category:COUNTRY",)),
        ({"AMOUNT": -1, "AGE_DAYS": None}, ("rule:AMOUNT.min", "rule:AGE_DAYS.null")),
    ],
)
def test_each_broken_rule_is_flagged(
    scorer: Scorer, shop_row, change: dict[str, Any], flags: tuple[str, ...]
) -> None:
    result = scorer.score_rows([shop_row(**change)])[0]

    assert result.flags == flags
    if any(flag.startswith("rule:") for flag in flags):
        assert result.decision in ("review", "decline")


def test_a_row_that_the_model_would_approve_is_reviewed(scorer: Scorer, shop_row) -> None:
    sound, broken = scorer.score_rows([shop_row(), shop_row(AMOUNT=-1)])

    assert broken.risk_score < sound.risk_score
    assert (sound.decision, broken.decision) == ("approve", "review")


def test_a_row_that_the_model_declines_stays_declined(scorer: Scorer, shop_row) -> None:
    assert scorer.score_rows([shop_row(AMOUNT=20000)])[0].decision == "decline"


def test_an_unknown_category_alone_changes_no_decision(scorer: Scorer, shop_row) -> None:
    assert scorer.score_rows([shop_row(COUNTRY="ZZ")])[0].decision == "approve"


def test_rules_on_patterns_of_names_and_on_derived_columns_hold(shop_contract) -> None:
    rules = {"AM*": ColumnRule(max=100), "IS_NIGHT": ColumnRule(values=(0,))}
    contract = parse_contract(shop_contract, source="tests").model_copy(
        update={"expectations": Expectations(columns=rules)}
    )
    frame = pl.DataFrame({"AMOUNT": [5.0, 500.0], "IS_NIGHT": [0.0, 1.0], "COUNTRY": ["DE", "7"]})

    broken = RowRules(contract).broken(frame)

    assert {flag: mask.tolist() for flag, mask in broken.items()} == {
        "rule:AMOUNT.max": [False, True],
        "rule:IS_NIGHT.values": [False, True],
    }


def test_a_pattern_matches_the_whole_text_with_look_ahead(shop_contract) -> None:
    rules = {"COUNTRY": {"pattern": "(?!XX)[A-Z]{2}"}}
    contract = parse_contract(shop_contract | {"expectations": rules}, source="tests")
    frame = pl.DataFrame({"COUNTRY": ["DE", "XX", "DEU", None]})

    assert RowRules(contract).broken(frame)["rule:COUNTRY.pattern"].tolist() == [
        False, True, True, False,
    ]  # fmt: skip


_amounts = st.none() | st.sampled_from([-1.0, 0.0, 5.0, 100.0, 100.5])


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "AMOUNT": _amounts,
                "DISTANCE": _amounts,
                "COUNTRY": st.none() | st.sampled_from(["5", "-1", "1e3", "x", ""]),
                "DEVICE": st.none() | st.sampled_from(["1", "2", "3"]),
            }
        ),
        min_size=1,
        max_size=6,
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_of_a_request_break_what_the_rows_of_a_table_break(
    shop_contract, rows: list[dict[str, Any]]
) -> None:
    rules = {
        "AMOUNT": {"min": 0, "max": 100, "null": False},
        "DISTANCE": {"values": [0, 5], "max": 100},
        "COUNTRY": {"min": 0, "max": 100},
        "DEVICE": {"null": False, "pattern": "[12]"},
    }
    contract = parse_contract(shop_contract | {"expectations": rules}, source="tests")
    types = dict.fromkeys(rows[0], pl.String) | dict.fromkeys(["AMOUNT", "DISTANCE"], pl.Float64)

    by_row = RowRules(contract).broken_by(rows)
    by_table = RowRules(contract).broken(pl.DataFrame(rows, schema=types))

    assert {flag: mask.tolist() for flag, mask in by_row.items()} == {
        flag: mask.tolist() for flag, mask in by_table.items()
    }


@pytest.mark.parametrize("at", [0, 1, 2])
def test_what_is_no_number_hides_no_row_that_breaks_a_bound(shop_contract, at: int) -> None:
    rules = {"AMOUNT": {"min": 0, "max": 100}}
    contract = parse_contract(shop_contract | {"expectations": rules}, source="tests")
    amounts = [-1.0, 101.0]
    amounts.insert(at, float("nan"))

    broken = RowRules(contract).broken_by([{"AMOUNT": amount} for amount in amounts])

    assert {flag: mask.tolist() for flag, mask in broken.items()} == {
        "rule:AMOUNT.min": [amount < 0 for amount in amounts],
        "rule:AMOUNT.max": [amount > 100 for amount in amounts],
    }


def test_a_bound_on_a_time_in_numbers_is_about_the_number(shop_contract) -> None:
    time = {"column": "PLACED_AT", "unit": "s", "origin": "2026-01-01T00:00:00Z"}
    contract = parse_contract(
        shop_contract
        | {"columns": shop_contract["columns"] | {"event_time": time}}
        | {"expectations": {"PLACED_AT": {"min": 0, "max": 60}}},
        source="tests",
    )
    start = datetime(2026, 1, 1, tzinfo=UTC)
    moments = [start + timedelta(seconds=seconds) for seconds in (-0.5, 0, 60, 60.5)]
    rules = RowRules(contract)

    table = rules.broken(pl.DataFrame({"PLACED_AT": pl.Series(moments).dt.cast_time_unit("us")}))
    rows = rules.broken_by([{"PLACED_AT": moment} for moment in moments])

    expected = {
        "rule:PLACED_AT.min": [True, False, False, False],
        "rule:PLACED_AT.max": [False, False, False, True],
    }
    assert {flag: mask.tolist() for flag, mask in table.items()} == expected
    assert {flag: mask.tolist() for flag, mask in rows.items()} == expected

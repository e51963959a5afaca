"""Derived columns: typed, with nulls kept, and never about another row than their own."""

from datetime import UTC, datetime, timedelta
from typing import Any

import hypothesis.strategies as st
import polars as pl
import pytest
from hypothesis import given, settings
from polars.testing import assert_frame_equal

from features.contract import Contract, ContractError, parse_contract
from features.derived import check_expressions, derive, derived_sources
from features.ingestion.data_error import DataError

COLUMNS: dict[str, Any] = {
    "id": "ID",
    "event_time": "AT",
    "amount": {"column": "AMOUNT", "currency": "EUR"},
    "numeric": ["A", "B", "credit.score"],
    "categorical": ["COUNTRY"],
    "optional": ["B"],
    "drop": ["SECRET"],
    "groups": ["SEX"],
}


def contract(time_zone: str = "UTC", **derived: str) -> Contract:
    columns = {**COLUMNS, "event_time": {"column": "AT", "time_zone": time_zone}}
    mapping = {"name": "shop", "columns": columns, "label": {"column": "IS_FRAUD"}}
    return parse_contract({**mapping, "derived": derived}, source="tests")


def rows(**columns: list[Any]) -> pl.DataFrame:
    """Conformed rows: the given columns, and ordinary values in the others."""
    n_rows = len(next(iter(columns.values())))
    usual = {
        "ID": [str(number) for number in range(n_rows)],
        "AT": [datetime(2026, 1, 5, 12, tzinfo=UTC)] * n_rows,
        "AMOUNT": [10.0] * n_rows,
        "A": [1.0] * n_rows,
        "B": [2.0] * n_rows,
        "credit.score": [600.0] * n_rows,
        "COUNTRY": ["DE"] * n_rows,
    }
    overrides = {"AT": pl.Datetime("us", "UTC"), "COUNTRY": pl.String} | dict.fromkeys(
        ("AMOUNT", "A", "B", "credit.score"), pl.Float64
    )
    return pl.DataFrame({**usual, **columns}, schema_overrides=overrides)


def values(sql: str, frame: pl.DataFrame, *, time_zone: str = "UTC") -> list[float | None]:
    made = derive(frame, contract(time_zone, x=sql))["x"]

    assert made.dtype == pl.Float64
    return made.to_list()


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("A > 1", [0.0, 1.0, None]),
        ("A / NULLIF(B, 0)", [0.5, None, None]),
        ("A / B", [0.5, None, None]),
        ("LN(A - 2)", [None, None, None]),
        ("COALESCE(A, -1)", [1.0, 2.0, -1.0]),
        ("CASE WHEN A > 1 THEN 10 ELSE 20 END", [20.0, 10.0, 20.0]),
        ("COUNTRY IN ('FR', 'IT')", [0.0, 1.0, None]),
        ("LENGTH(COUNTRY)", [2.0, 2.0, None]),
        ("A IS NULL", [0.0, 0.0, 1.0]),
        ('"credit.score" - 600', [0.0, 0.0, 0.0]),
    ],
)
def test_results_are_numbers_and_what_has_no_value_is_null(
    sql: str, expected: list[float | None]
) -> None:
    frame = rows(A=[1.0, 2.0, None], B=[2.0, 0.0, 1.0], COUNTRY=["DE", "FR", None])

    assert values(sql, frame) == expected


def test_conversions_that_a_value_does_not_fit_give_null_and_stop_nothing() -> None:
    frame = rows(COUNTRY=["12", "x", None])

    assert values("CAST(COUNTRY AS INT)", frame) == [12.0, None, None]
    dates = rows(COUNTRY=["Mar-2018", "?", None])
    assert values("EXTRACT(year FROM STRPTIME(COUNTRY, '%b-%Y'))", dates) == [2018.0, None, None]


def test_derived_columns_may_read_each_other_in_any_order() -> None:
    made = derive(rows(A=[3.0]), contract(double="2 * half_more", half_more="A + 0.5"))

    assert made.select("half_more", "double").row(0) == (3.5, 7.0)
    assert made.columns[-2:] == ["double", "half_more"]


def test_the_event_time_is_the_wall_clock_of_the_contract_through_summer_time() -> None:
    # Clocks in Paris went from 02:00 to 03:00 on 25 March 2018, at 01:00 UTC.
    moments = [datetime(2018, 3, 25, hour, 30, tzinfo=UTC) for hour in (0, 1, 22)]
    frame = rows(AT=moments)

    assert values("EXTRACT(hour FROM AT)", frame) == [0.0, 1.0, 22.0]
    assert values("EXTRACT(hour FROM AT)", frame, time_zone="Europe/Paris") == [1.0, 3.0, 0.0]
    assert values("EXTRACT(dow FROM AT)", frame, time_zone="Europe/Paris") == [0.0, 0.0, 1.0]
    after = "CAST(AT AS DATE) = DATE '2018-03-26'"
    assert values(after, frame, time_zone="Europe/Paris") == [0.0, 0.0, 1.0]
    since = "AT >= TIMESTAMP '2018-03-25 03:30:00'"
    assert values(since, frame, time_zone="Europe/Paris") == [0.0, 1.0, 1.0]


def test_deriving_leaves_the_event_time_itself_alone() -> None:
    frame = rows(A=[1.0])

    made = derive(frame, contract("Europe/Paris", hour="EXTRACT(hour FROM AT)"))

    assert_frame_equal(frame, made.select(frame.columns))


def test_optional_columns_may_be_absent_and_others_may_not() -> None:
    total = contract(total="COALESCE(A, 0) + COALESCE(B, 0)")

    assert derive(rows(A=[1.0]).drop("B"), total)["total"].to_list() == [1.0]
    with pytest.raises(DataError, match=r"lacks column 'A', which \[derived\] reads"):
        derive(rows(A=[1.0]).drop("A"), total)


def test_sources_are_the_columns_that_the_row_must_bring() -> None:
    assert derived_sources(contract(x="A + y", y="B * A")) == ("B", "A")


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("A +", r"derived.x = 'A \+'.*unable to parse"),
        ("A, B", "derived.x = 'A, B'"),
        ("", "derived.x = ''"),
        ("NO_SUCH(A)", "unsupported function 'no_such'"),
        ("AMOUT * 2", "derived.x reads 'AMOUT'.*Did you mean 'AMOUNT'"),
        ("credit.score", "holds a dot is written in double quotes"),
        ("IS_FRAUD", "derived.x reads 'IS_FRAUD', which is neither"),
        ("SEX = 'F'", "derived.x reads 'SEX'"),
        ("SECRET", "derived.x reads 'SECRET'"),
        ("x + 1", "derived.x is computed from itself"),
        ("COUNTRY", "derived.x must give a number or a truth value; it gives String"),
        ("AT", "derived.x must give a number or a truth value"),
        ("COUNTRY + 1", "derived.x cannot be evaluated"),
        ("COUNTRY ~ '('", "not a valid regular expression"),
        ("1 + 1", "reads no column"),
        ("A AS y", "ALIAS has no place"),
        ("AT > NOW()", "current time"),
        ("CAST(AT AS DATE) < CURRENT_DATE", "current time"),
    ],
)
def test_a_bad_expression_is_refused_with_its_key(sql: str, message: str) -> None:
    with pytest.raises(ContractError, match=message) as caught:
        check_expressions(contract(x=sql))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "sql",
    [
        "AVG(A)", "A - AVG(A)", "A > MAX(B)", "COUNT(*)", "COUNT(*) + A", "FIRST(A)",
        "SUM(A) OVER (PARTITION BY COUNTRY)", "LAG(A) OVER (ORDER BY AT)", "MEDIAN(A)",
        "ROW_NUMBER() OVER (ORDER BY A)", "A = ANY(B)", "A IN (SELECT 1)", "COLUMNS('A')",
        "UNNEST(A)", "CASE WHEN A > STDDEV(B) THEN 1 ELSE 0 END", "ARRAY_AGG(A)", "CORR(A, B)",
        "COALESCE(A, MIN(B))", "QUANTILE_CONT(A, 0.5)",
    ],
)  # fmt: skip
def test_what_looks_at_other_rows_is_refused(sql: str) -> None:
    with pytest.raises(ContractError, match=r"derived\.x = .*(other rows|one row alone)"):
        check_expressions(contract(x=sql))


def test_a_circle_is_named() -> None:
    with pytest.raises(ContractError, match=r"computed from itself \(x -> y -> x\)"):
        check_expressions(contract(x="y + 1", y="x + 1"))


def test_a_name_that_a_pattern_covers_counts_as_a_column_before_the_table_is_known() -> None:
    columns = {**COLUMNS, "numeric": ["V*"], "optional": []}
    mapping = {"name": "c", "columns": columns, "label": {"column": "y"}}

    check_expressions(parse_contract({**mapping, "derived": {"x": "V1 * V2"}}, source="tests"))
    with pytest.raises(ContractError, match="tests: derived.x reads 'W1'"):
        parse_contract({**mapping, "derived": {"x": "W1 * 2"}}, source="tests")


EXPRESSIONS = {
    "ratio": "AMOUNT / NULLIF(A, 0)",
    "night": "EXTRACT(hour FROM AT) <= 6",
    "abroad": "COUNTRY <> 'DE'",
    "bucket": "CASE WHEN AMOUNT < 10 THEN 0 WHEN AMOUNT < 100 THEN 1 ELSE 2 END",
    "root": "SQRT(A) + POW(B, 2) - LN(AMOUNT)",
    "most": "GREATEST(A, B, ratio)",
    "prefix": "SUBSTR(COUNTRY, 1, 1) = 'D' OR COUNTRY LIKE '%R'",
    "tail": "LENGTH(SPLIT_PART(COUNTRY, '-', 2)) + ROUND(A, 1) + MOD(B, 3)",
    "rest": "A IN (1, 2) AND B BETWEEN 0 AND 5",
}
NUMBER = st.none() | st.floats(-1e6, 1e6) | st.sampled_from([0.0, float("inf")])
MOMENT = st.integers(0, 10**9).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
ROW = st.tuples(NUMBER, NUMBER, NUMBER, MOMENT, st.sampled_from(["DE", "FR", "a-b", "", None]))


@settings(max_examples=40)
@given(st.lists(ROW, min_size=1, max_size=6), st.sampled_from(["UTC", "America/New_York"]))
def test_one_row_alone_gives_what_it_gives_in_a_table(drawn: list[Any], time_zone: str) -> None:
    amount, a, b, at, country = (list(column) for column in zip(*drawn, strict=True))
    frame = rows(AMOUNT=amount, A=a, B=b, AT=at, COUNTRY=country)
    shop = contract(time_zone, **EXPRESSIONS)
    check_expressions(shop)

    together = derive(frame, shop)
    alone = pl.concat([derive(frame[number], shop) for number in range(frame.height)])

    assert_frame_equal(together, alone, check_exact=True)
    finite = together.select(pl.col(*EXPRESSIONS).is_finite().all()).row(0)
    assert all(finite)


def test_later_rows_change_nothing_in_earlier_ones() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    frame = rows(
        AT=[start + timedelta(hours=7 * number) for number in range(20)],
        A=[float(number % 5) for number in range(20)],
    )
    shop = contract(**EXPRESSIONS)

    for n_rows in (1, 7, 19):
        assert_frame_equal(derive(frame, shop).head(n_rows), derive(frame.head(n_rows), shop))

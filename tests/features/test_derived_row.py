"""One declaration, two evaluators: a derived column of a row equals that of a table, to the bit."""

import math
from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.contract import parse_contract, read_contract, shipped_contracts
from features.derived import derive
from features.derived_row import compile_derived

COMPILED = {
    "hour": "EXTRACT(hour FROM t)",
    "is_night": "EXTRACT(hour FROM t) <= 6",
    "is_weekend": "EXTRACT(isodow FROM t) >= 6",
    "late_month": "EXTRACT(day FROM t) > 25 AND EXTRACT(month FROM t) <> 2",
    "abroad": "home <> country",
    "domestic": "home = country OR country IS NULL",
    "share": "a / NULLIF(b, 0)",
    "quotient": "a / b",
    "sum": "a + 2 * b - 1.5",
    "chosen": "CASE WHEN a > b THEN a WHEN a IS NULL THEN 0 ELSE b END",
    "known": "COALESCE(a, b, 0)",
    "far": "ABS(a - b) >= 0.1",
    "order": "a / b < b / a",
    "same": "a / b = b / a",
    "neither": "NOT (a > 1 OR home = 'PT') AND b IS NOT NULL",
    "of_derived": "sum / NULLIF(share, 0)",
    "of_truth": "is_night + far",
}
"""Each is compiled; so are those of the shipped contracts."""
ONLY_TABLES = {
    "logarithm": "LN(a)",
    "power": "POWER(a, 2)",
    "of_part": "EXTRACT(hour FROM t) * 100",
    "large_part": "EXTRACT(hour FROM t) < 1000",
    "membership": "home IN ('PT', 'DE')",
    "conversion": "CAST(home AS DOUBLE)",
    "length": "LENGTH(home)",
}

EARLIEST, LATEST = (datetime.fromisoformat(text) for text in ("1980-01-01", "2060-01-01"))

numbers = (
    st.none()
    | st.sampled_from([0.0, -0.0, 1.0, -1.5, 1e300, 5e-324])
    | st.floats(allow_nan=False, allow_infinity=False)
)
texts = st.none() | st.sampled_from(["PT", "DE", "", "pt"])
times = st.datetimes(
    min_value=EARLIEST,
    max_value=LATEST,
).map(lambda moment: moment.replace(tzinfo=UTC))


def contract_of(derived, *, time_zone="UTC"):
    return parse_contract(
        {
            "name": "rows",
            "columns": {
                "event_time": {"column": "t", "time_zone": time_zone},
                "numeric": ["a", "b"],
                "categorical": ["home", "country"],
            },
            "label": {"column": "y", "positive": 1},
            "derived": derived,
        },
        source="test",
    )


CONTRACTS = {zone: contract_of(COMPILED, time_zone=zone) for zone in ("UTC", "Europe/Lisbon")}
SCHEMA = {
    "t": pl.Datetime("us", "UTC"),
    "a": pl.Float64(), "b": pl.Float64(), "home": pl.String(), "country": pl.String(),
}  # fmt: skip


@settings(max_examples=200)
@given(
    row=st.fixed_dictionaries(
        {"t": times, "a": numbers, "b": numbers, "home": texts, "country": texts}
    ),
    zone=st.sampled_from(sorted(CONTRACTS)),
)
def test_a_row_gives_what_a_table_gives(row, zone):
    contract = CONTRACTS[zone]
    expected = derive(pl.DataFrame([row], schema=SCHEMA), contract).row(0, named=True)

    found = compile_derived(contract).extend(row)

    for name in COMPILED:
        same = found[name] == expected[name]
        assert same or (found[name] is expected[name] is None), (name, found[name], expected[name])
        if expected[name] == 0:
            assert math.copysign(1, found[name]) == math.copysign(1, expected[name]), name


@pytest.mark.parametrize("name", sorted(ONLY_TABLES))
def test_what_is_not_sure_to_be_equal_stays_with_tables(name):
    assert compile_derived(contract_of({name: ONLY_TABLES[name]})) is None


@pytest.mark.parametrize("name", shipped_contracts())
def test_shipped_contracts_need_no_table(name):
    assert compile_derived(read_contract(name)) is not None


def test_nothing_derived_leaves_a_row_as_it_is():
    row = {"a": 1.0}

    assert compile_derived(contract_of({})).extend(row) == row

"""Columns in the types of the contract, and moments from whatever a table holds."""

import logging
import tomllib
from datetime import UTC, date, datetime
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from features.contract import Contract, parse_contract
from features.contract_blocks import EventTime
from features.ingestion.conforming import conform
from features.ingestion.data_error import DataError
from features.ingestion.timestamps import to_utc

CONTRACT = """
name = "cards"
[columns]
id = "tx"
event_time = "when"
amount = {column = "amount", currency = "EUR"}
entities = ["card"]
numeric = ["speed", "is_new"]
categorical = ["country", "mcc"]
optional = ["mcc"]
drop = ["note"]
pii = ["speed"]
groups = ["age"]
[label]
column = "fraud"
"""


def contract() -> Contract:
    return parse_contract(tomllib.loads(CONTRACT), source="test")


def table(**columns: list[Any]) -> pl.DataFrame:
    """Return two rows that fit the contract, with columns replaced."""
    whole: dict[str, list[Any]] = {
        "tx": [7, 8],
        "when": ["2024-03-01 10:00:00", "2024-03-01 11:30:00"],
        "amount": ["12.5", "1e+05"],
        "card": [4.0, 5.0],
        "speed": [1, 2],
        "is_new": [True, None],
        "country": ["DE", None],
        "mcc": [5411, 5999],
        "note": ["x", "y"],
        "age": [30, 40],
        "fraud": ["0", "1"],
    }
    return pl.DataFrame(whole | columns)


def test_every_column_takes_the_type_of_its_role() -> None:
    typed = conform(table(), contract())

    assert typed.rows(named=True)[1] == {
        "tx": "8",
        "when": datetime(2024, 3, 1, 11, 30, tzinfo=UTC),
        "amount": 100_000.0,
        "card": "5",
        "speed": 2.0,
        "is_new": None,
        "country": None,
        "mcc": "5999",
        "note": "y",
        "age": 40,
        "fraud": "1",
    }
    assert typed.schema["is_new"] == pl.Float64
    assert typed.schema["when"] == pl.Datetime("us", "UTC")


def test_conforming_twice_changes_nothing() -> None:
    once = conform(table(), contract())

    assert_frame_equal(conform(once, contract()), once)


def test_an_optional_column_that_is_absent_becomes_missing() -> None:
    typed = conform(table().drop("mcc", "fraud"), contract())

    assert typed["mcc"].to_list() == [None, None]
    assert typed["mcc"].dtype == pl.String


def test_missing_numbers_become_null_and_infinities_stay() -> None:
    typed = conform(table(amount=[float("nan"), float("inf")], speed=["NA", " -inf "]), contract())

    assert typed["amount"].to_list() == [None, float("inf")]
    assert typed["speed"].to_list() == [None, float("-inf")]


def test_a_category_is_the_same_whether_or_not_nulls_made_it_a_float() -> None:
    floats = conform(table(mcc=[5411.0, None]), contract())

    assert floats["mcc"].to_list() == ["5411", None]
    assert conform(table(mcc=[0.5, 1e300]), contract())["mcc"].to_list() == ["0.5", "1e+300"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"amount": ["12.5", "twelve"]}, "Column 'amount', row 2: 'twelve' is not a number"),
        ({"amount": ["1,5", "x"]}, "row 1: '1,5' is not a number (2 such rows)"),
        ({"amount": [date(2024, 1, 1), None]}, "'amount' should hold numbers but holds Date"),
        ({"amount": [[1], [2]]}, "'amount' should hold numbers but holds List"),
        ({"country": [["DE"], None]}, "'country' should hold text but holds List"),
        ({"when": ["2024-03-01", "soon"]}, "Column 'when', row 2: 'soon' is not an ISO 8601"),
        ({"when": [1, 2]}, "holds numbers, not moments"),
        ({"when": [True, False]}, "holds no moments but Boolean"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError) as refusal:
        conform(table(**columns), contract())

    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_personal_data_stands_in_no_message() -> None:
    with pytest.raises(DataError, match="row 1: a value is not a number") as refusal:
        conform(table(speed=["4111 1111", "2"]), contract())

    assert "4111" not in str(refusal.value)


def test_a_missing_column_is_named() -> None:
    with pytest.raises(DataError, match="lacks 1 column.*'country'"):
        conform(table().drop("country"), contract())


def moments(values: list[Any], **declared: Any) -> list[datetime | None]:
    event_time = EventTime.model_validate({"column": "t", **declared})
    return to_utc(pl.Series("t", values), event_time).to_list()


NOON = datetime(2024, 3, 1, 12, tzinfo=UTC)
EPOCH = "2013-09-01T00:00:00Z"


@pytest.mark.parametrize(
    ("value", "declared"),
    [
        ("2024-03-01 12:00:00", {}),
        ("2024-03-01T12:00", {}),
        (" 2024-03-01T12:00:00.000000 ", {}),
        ("2024-03-01T12:00:00,0", {}),
        ("2024-03-01T12:00Z", {}),
        ("2024-03-01T14:30:00+02:30", {}),
        ("2024-03-01 07:00:00-0500", {}),
        ("2024-03-01 11:00:00-01", {}),
        ("2024-03-01 13:00:00", {"time_zone": "Europe/Berlin"}),
        ("2024-03-01 12:00:00Z", {"time_zone": "Europe/Berlin"}),
        ("03/01/2024 12:00", {"format": "%m/%d/%Y %H:%M"}),
        ("2024-03-01T12:00:00Z", {"format": "%m/%d/%Y %H:%M"}),
        ("1.3.2024 14:00:00.0 +0200", {"format": "%d.%m.%Y %H:%M:%S.%f %z"}),
        (NOON.replace(tzinfo=None), {}),
        (NOON, {"time_zone": "Europe/Berlin"}),
        (12.0, {"unit": "h", "origin": "2024-03-01T00:00:00Z"}),
        ("43200", {"unit": "s", "origin": "2024-03-01T00:00:00Z"}),
        (1_709_294_400_000_000_000, {"unit": "ns", "origin": "1970-01-01T00:00:00Z"}),
        ("2024-03-01T12:00:00Z", {"unit": "s", "origin": EPOCH}),
    ],
)
def test_a_moment_is_read_however_it_is_written(value: Any, declared: dict[str, Any]) -> None:
    assert moments([value, None], **declared) == [NOON, None]


def test_a_month_begins_with_its_first_day() -> None:
    assert moments(["Mar-2024"], format="%b-%Y") == [datetime(2024, 3, 1, tzinfo=UTC)]
    assert moments(["2024/3/1"], format="%Y/%m/%d") == [datetime(2024, 3, 1, tzinfo=UTC)]
    assert moments([date(2024, 3, 1)]) == [datetime(2024, 3, 1, tzinfo=UTC)]


def test_fractions_of_a_second_are_kept() -> None:
    found = moments([0.25, 1e5], unit="s", origin=EPOCH)

    assert found[0] == datetime(2013, 9, 1, 0, 0, 0, 250_000, tzinfo=UTC)
    assert found[1] == datetime(2013, 9, 2, 3, 46, 40, tzinfo=UTC)


@pytest.mark.parametrize(
    ("values", "declared", "message"),
    [
        (["2024-03-01Z"], {}, "row 1: '2024-03-01Z' is not an ISO 8601 time"),
        (["2024-03-01", "2024-02-30", "x"], {}, "row 2: '2024-02-30' is not an ISO 8601 time"),
        (["2024-03-01", "x", "y"], {}, "(2 such rows)"),
        (["3/1/2024", "13/1/2024"], {"format": "%m/%d/%Y"}, "row 2: '13/1/2024' is not in format"),
        (["2024-03-01 10"], {"format": "%Y-%m-%d %H"}, "is not a date format"),
        (
            ["2024-03-01T10:00", None, "2024-03-01T10:00Z"],
            {},
            "row 3: '2024-03-01T10:00Z' has an offset from UTC, earlier rows have none",
        ),
        (
            ["2024-03-01T10:00Z", "2024-03-01T10:00"],
            {},
            "row 2: '2024-03-01T10:00' has no offset from UTC, earlier rows have one",
        ),
        ([1.0, float("inf")], {"unit": "s", "origin": EPOCH}, "row 2: 'inf' is out of range"),
        ([1e12], {"unit": "d", "origin": EPOCH}, "out of range"),
        (
            ["2024-03-31 02:30:00"],
            {"time_zone": "Europe/Berlin"},
            "was never shown by a clock in Europe/Berlin",
        ),
    ],
)
def test_what_is_no_moment_is_refused(
    values: list[Any], declared: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError) as refusal:
        moments(values, **declared)

    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_the_hour_shown_twice_is_the_earlier_one(caplog: pytest.LogCaptureFixture) -> None:
    """On 2024-10-27 clocks in Berlin went from 03:00 (UTC+2) back to 02:00 (UTC+1)."""
    with caplog.at_level(logging.WARNING):
        found = moments(["2024-10-27 02:30:00"], time_zone="Europe/Berlin")

    assert found == [datetime(2024, 10, 27, 0, 30, tzinfo=UTC)]
    assert "ambiguous local times" in caplog.text


def test_a_missing_number_of_seconds_is_a_missing_moment() -> None:
    assert moments([float("nan"), None], unit="s", origin=EPOCH) == [None, None]

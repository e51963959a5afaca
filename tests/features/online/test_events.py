"""Events: what a row leaves behind, and what tells a retry from a reused id."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.money import to_minor_units
from features.online.events import (
    Event,
    EventReader,
    microseconds_of,
    minor_units,
    moment_of,
)

EVENT = Event("a", 5, 1_000, ("c", "s"), ("s", "chip"))


@pytest.mark.parametrize(
    "other",
    [
        {"id": "b"},
        {"event_time": 6},
        {"amount_minor": None},
        {"amount_minor": 1_001},
        {"entities": ("c", None)},
        {"entities": ("c", "null")},
        {"entities": ("cs", "")},
        {"values": ("s", "swipe")},
        {"values": ("schip", "")},
    ],
)
def test_other_content_has_another_digest(other) -> None:
    assert replace(EVENT, **other).digest != EVENT.digest


def test_the_same_content_has_the_same_digest_in_every_process() -> None:
    assert EVENT.digest == replace(EVENT).digest
    assert EVENT.digest.hex() == "b79fe7dc2bbbc53b10f07b537fa2d75a"


def test_a_row_is_read_as_the_contract_says(watched, start) -> None:
    row = {"tx": "t1", "when": start, "amount": 10.125, "card": "c", "shop": None, "mode": "chip"}

    event = EventReader(watched).read(row, "t1")

    assert event == Event("t1", microseconds_of(start), 1_012, ("c", None), (None, "chip"))


def test_a_row_without_a_moment_is_nobodys_event(watched) -> None:
    assert EventReader(watched).read({"when": None, "card": "c"}, "t1") is None


def test_columns_that_a_row_lacks_are_missing(watched, start) -> None:
    event = EventReader(watched).read({"when": start}, "t1")

    assert event == Event("t1", microseconds_of(start), None, (None, None), (None, None))


def test_moments_of_any_zone_are_exact(start) -> None:
    berlin = timezone(timedelta(hours=2))
    moment = datetime(2026, 3, 29, 3, 0, 0, 123_457, berlin)

    assert microseconds_of(moment) == microseconds_of(moment.astimezone(UTC))
    assert moment_of(microseconds_of(moment)) == moment
    assert microseconds_of(datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC)) == -1


@given(st.floats(allow_nan=True, allow_infinity=True), st.sampled_from(["EUR", "JPY", "KWD"]))
def test_amounts_round_as_those_of_tables_do(amount, currency) -> None:
    per_major = {"EUR": 100, "JPY": 1, "KWD": 1_000}[currency]

    [wanted] = to_minor_units(pl.Series([amount], dtype=pl.Float64), currency).to_list()

    assert minor_units(amount, per_major) == wanted

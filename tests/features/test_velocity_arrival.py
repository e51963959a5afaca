"""Late events: a row sees what had happened before it and had arrived by then."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features import velocity_arrival
from features.contract import Contract, parse_contract
from features.ingestion.data_error import DataError
from features.velocity import velocity_plan
from features.velocity_table import add_velocity

START = datetime(2024, 3, 30, tzinfo=UTC)
HALF_HOUR = timedelta(minutes=30)
UTC_TIME = pl.Datetime("us", "UTC")


def contract(**label: Any) -> Contract:
    """Every aggregate for an entity, some for a pair, and label rates."""
    aggregates = [
        "count", "amount_sum", "amount_mean", "amount_max", "amount_min", "amount_std",
        "amount_to_mean", "distinct:shop", "share:mode=chip", "seconds_since_last",
        "count_ratio:6h", "amount_mean_ratio:6h",
    ]  # fmt: skip
    document = {
        "name": "cards",
        "columns": {
            "id": "tx",
            "event_time": "when",
            "amount": {"column": "amount", "currency": "EUR"},
            "entities": ["card", "shop"],
            "categorical": ["mode"],
        },
        "label": {"column": "fraud", "delay": "1h", "reported_at": "known", **label},
        "velocity": [
            {"entity": "card", "windows": ["1h", "3h"], "aggregates": aggregates},
            {"entity": ["card", "shop"], "windows": ["2h"], "aggregates": ["count", "amount_max"]},
        ],
        "label_rate": [{"entity": "shop", "windows": ["1h", "5h"]}],
    }
    return parse_contract(document, source="test")


CONTRACT = contract()
NAMES = velocity_plan(CONTRACT).names
SCHEMA = {
    "when": UTC_TIME,
    "arrived": UTC_TIME,
    "amount": pl.Float64,
    "card": pl.String,
    "shop": pl.String,
    "mode": pl.String,
    "label": pl.Int8,
    "label_reported_at": UTC_TIME,
}

moments = st.integers(0, 16).map(lambda halves: START + halves * HALF_HOUR)
rows = st.fixed_dictionaries(
    {
        "when": st.one_of(st.none(), moments, moments, moments, moments),
        "arrived": st.one_of(st.none(), moments, moments, moments),
        "amount": st.one_of(st.none(), st.integers(-500, 500).map(lambda minor: minor / 100)),
        "card": st.sampled_from(["a", "b", None]),
        "shop": st.sampled_from(["x", "y", None]),
        "mode": st.sampled_from(["chip", "swipe", None]),
        "label": st.sampled_from([0, 1, None]),
        "label_reported_at": st.one_of(st.none(), moments),
    }
)
tables = st.lists(rows, max_size=30)


def one_by_one(table: list[dict[str, Any]], declared: Contract) -> pl.DataFrame:
    """Each row alone, with the rows that had arrived before it as its only history."""
    never = datetime.max.replace(tzinfo=UTC)
    order = [(row["arrived"] or row["when"] or never, at) for at, row in enumerate(table)]
    frame = pl.DataFrame(table, schema=SCHEMA)
    found = [
        add_velocity(
            frame[at : at + 1],
            declared,
            history=frame[[other for other in range(len(table)) if order[other] < order[at]]],
        )
        for at in range(len(table))
    ]
    return pl.concat(found) if found else add_velocity(frame, declared)


@settings(max_examples=100)
@given(tables, st.sampled_from([{}, {"absent_means": "negative"}, {"delay": "0s"}]))
def test_a_row_sees_what_a_state_fed_in_order_of_arrival_would_hold(
    table: list[dict[str, Any]], label: dict[str, Any]
) -> None:
    declared = contract(**label)

    found = add_velocity(pl.DataFrame(table, schema=SCHEMA), declared, arrival="arrived")

    assert found.equals(one_by_one(table, declared))


@settings(max_examples=30)
@given(tables)
def test_what_arrives_in_order_of_event_time_is_what_event_time_gives(
    table: list[dict[str, Any]],
) -> None:
    frame = pl.DataFrame(table, schema=SCHEMA).with_columns(arrived="when")

    assert add_velocity(frame, CONTRACT, arrival="arrived").equals(add_velocity(frame, CONTRACT))


@settings(max_examples=30)
@given(tables, st.integers(0, 30))
def test_history_arrives_too(table: list[dict[str, Any]], n_history: int) -> None:
    frame = pl.DataFrame(table, schema=SCHEMA)
    history, later = frame[:n_history], frame[n_history:]

    found = add_velocity(later, CONTRACT, history=history, arrival="arrived")

    assert found.equals(add_velocity(frame, CONTRACT, arrival="arrived")[n_history:])


def late_table() -> pl.DataFrame:
    """Minutes 0, 10, 20, 30; the event of minute 10 arrives in minute 25."""
    minutes, arrived = (0, 10, 20, 30), (0, 25, 20, 30)
    return pl.DataFrame(
        {
            "when": [START + timedelta(minutes=minute) for minute in minutes],
            "arrived": [START + timedelta(minutes=minute) for minute in arrived],
            "amount": [1.0, 2.0, 4.0, 8.0],
            "card": ["a"] * 4,
            "shop": ["x", "y", "x", "y"],
            "mode": ["chip"] * 4,
        }
    )


def test_an_event_counts_from_its_arrival_on() -> None:
    found = add_velocity(late_table(), CONTRACT, arrival="arrived")

    assert found["card_count_1h"].to_list() == [0, 1, 1, 3]
    assert found["card_amount_sum_1h"].to_list() == [0, 1, 1, 7]
    assert found["card_distinct_shop_1h"].to_list() == [0, 1, 1, 2]
    assert found["card_seconds_since_last"].to_list() == [None, 600, 1200, 600]


def test_of_two_that_arrive_together_the_first_row_is_there_first() -> None:
    together = late_table().with_columns(arrived=pl.lit(START))

    found = add_velocity(together, CONTRACT, arrival="arrived")
    turned = add_velocity(together.reverse(), CONTRACT, arrival="arrived")

    assert found["card_count_1h"].to_list() == [0, 1, 2, 3]
    assert turned["card_count_1h"].to_list() == [0, 0, 0, 0]


def test_lists_of_seen_events_may_be_cut_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = stream(2_000)
    whole = add_velocity(frame, CONTRACT, arrival="arrived")
    assert not whole.equals(add_velocity(frame, CONTRACT))

    monkeypatch.setattr(velocity_arrival, "_LISTED_EVENTS", 7)

    assert add_velocity(frame, CONTRACT, arrival="arrived").equals(whole)


def stream(n_rows: int) -> pl.DataFrame:
    """Rows of eight hours; each arrives within ten minutes, in another order."""
    chance = np.random.default_rng(5)
    seconds = np.sort(chance.integers(0, 8 * 3600, n_rows))
    late = seconds + chance.integers(0, 600, n_rows)
    columns = {
        "when": pl.Series(seconds * 1_000_000).cast(pl.Duration("us")) + START,
        "arrived": pl.Series(late * 1_000_000).cast(pl.Duration("us")) + START,
        "amount": chance.integers(1, 9_999, n_rows) / 100,
        "card": chance.choice(["a", "b", "c", "d"], n_rows),
        "shop": chance.choice(["x", "y", "z"], n_rows),
        "mode": chance.choice(["chip", "swipe"], n_rows),
    }
    return pl.DataFrame(columns)


@pytest.mark.parametrize(
    ("arrival", "message"),
    [("missing", "lacks column 'missing'"), ("amount", "'amount' must hold timestamps")],
)
def test_a_column_that_says_no_arrival_is_named(arrival: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        add_velocity(late_table(), CONTRACT, arrival=arrival)

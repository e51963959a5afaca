"""The feature table: one row for each labelled row, under an address made of its content."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from features.benign import benign_reference
from features.contract import Contract, parse_contract
from features.feature_set import FeatureSetMismatch
from features.feature_table import build_feature_table, feature_table_key, input_types_of
from features.ingestion.conforming import conform
from features.money import minor_units_per_major, to_minor_units
from features.splits import SplitError
from features.velocity_table import WindowLongerThanHistory

SHOP: dict[str, Any] = {
    "name": "shop",
    "columns": {
        "id": "ID",
        "event_time": "AT",
        "amount": {"column": "AMOUNT", "currency": "EUR"},
        "categorical": ["COUNTRY"],
    },
    "label": {"column": "IS_FRAUD", "delay": "2d"},
    "derived": {"night": "EXTRACT(hour FROM AT) <= 6"},
}
START = datetime(2026, 1, 1, 12, tzinfo=UTC)


def contract(**changes: Any) -> Contract:
    return parse_contract({**SHOP, **changes}, source="tests")


def table(n_days: int = 100, *, first_day: int = 0) -> pl.DataFrame:
    """One row a day; every third one is fraud; XX appears on the last ten days only."""
    days = range(first_day, first_day + n_days)
    return pl.DataFrame(
        {
            "ID": [f"t{day}" for day in days],
            "AT": [START + timedelta(days=day) for day in days],
            "AMOUNT": [day + 0.25 for day in days],
            "COUNTRY": [("DE" if day % 2 else "FR") if day < 90 else "XX" for day in days],
            "IS_FRAUD": [int(day % 3 == 0) for day in days],
        }
    )


def built(frame: pl.DataFrame, shop: Contract | None = None, **options: Any):
    shop = shop or contract()
    return build_feature_table(
        frame, shop, input_types=input_types_of(frame.schema, shop), **options
    )


def test_reserved_columns_come_with_the_features_in_the_order_of_the_table() -> None:
    made = built(table()).frame

    assert dict(made.schema) == {
        "row_id": pl.String(),
        "event_time": pl.Datetime("us", "UTC"),
        "amount_minor": pl.Int64(),
        "AMOUNT": pl.Float64(),
        "night": pl.Float64(),
        "COUNTRY": pl.String(),
        "label": pl.Int8(),
        "part": pl.String(),
    }
    assert made.row(3)[:4] == ("t3", START + timedelta(days=3), 325, 3.25)
    assert made.row(3)[4:7] == (0.0, "DE", 1)


def test_without_id_amount_and_time_the_reserved_columns_keep_their_types() -> None:
    plain = contract(
        columns={"numeric": ["AMOUNT"], "categorical": ["COUNTRY"], "drop": ["ID", "AT"]},
        label={"column": "IS_FRAUD"},
        derived={},
        split={"by": "random"},
    )
    made = built(table(), plain).frame

    assert made["row_id"].to_list() == [str(number) for number in range(100)]
    assert made.schema["event_time"] == pl.Datetime("us", "UTC")
    assert made.schema["amount_minor"] == pl.Int64
    assert made.select("event_time", "amount_minor").null_count().row(0) == (100, 100)


def test_rows_without_a_label_yet_are_left_out_and_counted() -> None:
    made = built(table())

    # The newest row is of day 99; days 98 and 99 have no label two days later.
    assert made.frame["row_id"].to_list() == [f"t{day}" for day in range(98)]
    assert made.counts["immature_rows"] == 2
    # Validation starts on day 59, test on day 78; the gap leaves out rows one day before.
    assert made.counts["gap_rows"] == 2
    assert made.counts["train_rows"] + made.counts["test_rows"] == 58 + 20
    assert made.counts["train_positives"] == 20


def test_only_training_rows_shape_the_vocabulary() -> None:
    made = built(table())

    assert made.feature_set.vocabularies["COUNTRY"].values == ("DE", "FR")
    arrays = made.feature_set.encode(made.frame)
    assert set(arrays.categorical[90:, 0]) == {1}


def test_a_separate_test_file_is_the_test_part_and_a_gap_stands_before_it() -> None:
    made = built(table(60), test=table(30, first_day=60))

    parts = made.frame["part"].to_list()
    assert parts[60:] == ["test"] * (90 - 60 - 2)
    assert set(parts[:59]) == {"train", "validation", "calibration", None}
    # Day 59's label is known on day 61, after the test began; day 58's on day 60.
    assert (parts[58], parts[59]) == ("calibration", None)


def test_a_test_file_of_the_same_days_costs_no_rows() -> None:
    made = built(table(60), test=table(30))

    # Days 58 and 59 are left out for another reason: their labels are not known yet.
    assert made.frame["part"].to_list()[55:59] == ["calibration"] * 3 + ["test"]
    assert made.counts["gap_rows"] == 1  # before validation only


def test_too_few_positives_stop_before_anything_is_fitted() -> None:
    frame = table().with_columns(IS_FRAUD=pl.Series([1, 1, 1] + [0] * 97))

    with pytest.raises(SplitError, match="Every part needs 2 positives"):
        built(frame)


def test_the_address_changes_with_data_contract_moment_and_test() -> None:
    moment = datetime(2026, 5, 1, tzinfo=UTC)
    first = feature_table_key(["a"], contract(), moment, has_test=True)

    others = {
        feature_table_key(["b"], contract(), moment, has_test=True),
        feature_table_key(["a", "b"], contract(), moment, has_test=True),
        feature_table_key(["a"], contract(derived={}), moment, has_test=True),
        feature_table_key(["a"], contract(split={"by": "random"}), moment, has_test=True),
        feature_table_key(["a"], contract(), moment + timedelta(days=1), has_test=True),
        feature_table_key(["a"], contract(), None, has_test=True),
        feature_table_key(["a"], contract(), moment, has_test=False),
    }
    same = feature_table_key(["a"], contract(policy={"on_stall": "refuse"}), moment, has_test=True)

    assert len(others | {first}) == 8
    assert first == same


def test_building_twice_gives_the_same_rows() -> None:
    first, second = built(table()), built(table())

    assert first.frame.equals(second.frame)
    assert first.feature_set.hash == second.feature_set.hash


def test_benign_references_are_medians_and_modes_of_negatives() -> None:
    train = pl.DataFrame(
        {
            "AMOUNT": [1.0, 2.0, 9.0, None, 500.0],
            "night": [0.0, 0.0, 1.0, None, 1.0],
            "COUNTRY": ["FR", "DE", "DE", "FR", "XX"],
            "label": [0, 0, 0, 0, 1],
        }
    )

    assert benign_reference(train, contract()) == {"AMOUNT": 2.0, "night": 0.0, "COUNTRY": "DE"}
    chosen = contract(reasons={"benign": {"AMOUNT": 7, "COUNTRY": 2}})
    assert benign_reference(train, chosen) == {"AMOUNT": 7.0, "night": 0.0, "COUNTRY": "2"}


@pytest.mark.parametrize(
    ("currency", "expected"),
    [("EUR", [5716, 12, 38, None]), ("JPY", [57, 0, 0, None]), ("KWD", [57160, 125, 375, None])],
)
def test_money_is_whole_minor_units_with_halves_to_even(
    currency: str, expected: list[int | None]
) -> None:
    amounts = pl.Series([57.16, 0.125, 0.375, None])

    assert to_minor_units(amounts, currency).to_list() == expected
    assert minor_units_per_major(currency) in (1, 100, 1000)


def test_cents_survive_the_way_through_floats() -> None:
    cents = np.arange(0, 2_000_000, 7)

    assert np.array_equal(to_minor_units(pl.Series(cents / 100), "EUR").to_numpy(), cents)


def velocity_shop(window: str = "30d") -> Contract:
    columns = {**SHOP["columns"], "entities": ["COUNTRY"]}
    blocks: dict[str, Any] = {
        "velocity": [{"entity": "COUNTRY", "windows": [window], "aggregates": ["count"]}],
        "label_rate": [{"entity": "COUNTRY", "windows": [window]}],
    }
    return contract(columns=columns, **blocks)


def one_country(*frames: pl.DataFrame) -> list[pl.DataFrame]:
    return [frame.with_columns(COUNTRY=pl.lit("DE")) for frame in frames]


def test_rows_without_a_label_are_part_of_the_past_of_others() -> None:
    (frame,) = one_country(table())
    unlabelled = frame.with_columns(
        IS_FRAUD=pl.when(pl.col("AT") > START + timedelta(days=10)).then("IS_FRAUD")
    )

    made = built(unlabelled, velocity_shop()).frame

    assert made.height == 100 - 11 - 2
    # The row of day 11: eleven days before it, none of which has a label.
    assert made.row(0, named=True)["COUNTRY_count_30d"] == 11
    assert made.row(0, named=True)["COUNTRY_label_rate_30d"] is None
    assert made["COUNTRY_count_30d"].max() == 30


def test_rows_of_a_test_file_have_the_fitting_rows_as_their_past() -> None:
    frame, later = one_country(table(), table(40, first_day=100))

    made = built(frame, velocity_shop(), test=later).frame

    test = made.filter(part="test")
    assert test["COUNTRY_count_30d"].to_list() == [30] * 38
    # Thirty days that end two days before: a third of them fraud.
    assert test["COUNTRY_label_count_30d"].to_list() == [30] * 38
    assert test["COUNTRY_label_rate_30d"].to_list() == [1 / 3] * 38


def test_a_window_longer_than_the_table_is_refused_in_one_line() -> None:
    with pytest.raises(WindowLongerThanHistory) as refused:
        built(table(20), velocity_shop())

    assert str(refused.value) == (
        "The window of 'COUNTRY_count_30d' is 30d; the table spans 19 days, 0:00:00, from "
        "2026-01-01 12:00 to 2026-01-20 12:00. Declare a shorter window, or bring more history."
    )


def test_rows_out_of_order_are_counted_and_change_no_feature() -> None:
    (frame,) = one_country(table())
    shop = velocity_shop()
    late = pl.concat([frame[:50], frame[60:], frame[50:60]])

    made, straight = built(late, shop), built(frame, shop)

    assert made.counts["out_of_order_rows"] == 10
    assert straight.counts["out_of_order_rows"] == 0
    assert made.frame.sort("event_time").equals(straight.frame)


def test_arrays_need_the_features_over_time() -> None:
    shop = velocity_shop()
    feature_set = built(table(), shop).feature_set

    assert feature_set.numeric[-3:] == shop.velocity_features
    with pytest.raises(FeatureSetMismatch, match="lack 'COUNTRY_count_30d', a feature over time"):
        feature_set.transform(conform(table(), shop))


def test_the_hash_of_a_feature_set_follows_the_label_delay_where_rates_depend_on_it() -> None:
    shop = velocity_shop()
    other = shop.model_copy(
        update={"label": shop.label.model_copy(update={"delay": timedelta(days=3)})}
    )

    assert built(table(), shop).feature_set.hash != built(table(), other).feature_set.hash

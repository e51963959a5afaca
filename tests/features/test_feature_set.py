"""The feature set: names become positions once, and its hash says when the meaning changes."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest

from features.contract import Contract, ContractError, parse_contract
from features.feature_set import FeatureArrays, FeatureSet, FeatureSetMismatch
from features.vocabulary import Vocabulary

SHOP: dict[str, Any] = {
    "name": "shop",
    "columns": {
        "id": "ID",
        "event_time": "AT",
        "amount": {"column": "AMOUNT", "currency": "EUR"},
        "numeric": ["AGE", "DISTANCE"],
        "categorical": ["COUNTRY", "DEVICE"],
        "optional": ["DISTANCE", "DEVICE"],
    },
    "label": {"column": "IS_FRAUD"},
    "derived": {"night": "EXTRACT(hour FROM AT) <= 6", "rate": "AMOUNT / AGE"},
}
TYPES = {"ID": "integer", "AT": "timestamp", "AMOUNT": "number", "COUNTRY": "text"}


def contract(**changes: Any) -> Contract:
    return parse_contract({**SHOP, **changes}, source="tests")


def shop_rows() -> pl.DataFrame:
    """Conformed rows: 12 from DE, 10 from FR, 3 from IT; the last two oddly."""
    return pl.DataFrame(
        {
            "ID": [str(number) for number in range(25)],
            "AT": [datetime(2026, 1, 1, number % 24, tzinfo=UTC) for number in range(25)],
            "AMOUNT": [float(number) for number in range(24)] + [None],
            "AGE": [2.0] * 23 + [0.0, None],
            "DISTANCE": [None, *[1.5] * 24],
            "COUNTRY": ["DE"] * 12 + ["FR"] * 10 + ["IT"] * 3,
            "DEVICE": ["1", None] * 12 + ["2"],
        },
        schema_overrides={"AT": pl.Datetime("us", "UTC"), "DISTANCE": pl.Float64},
    )


def fitted(**changes: Any) -> FeatureSet:
    return FeatureSet.fit(contract(**changes), shop_rows(), input_types=TYPES)


def test_the_order_is_amount_numbers_derived_then_categories() -> None:
    feature_set = fitted()

    assert feature_set.numeric == ("AMOUNT", "AGE", "DISTANCE", "night", "rate")
    assert feature_set.categorical == ("COUNTRY", "DEVICE")
    assert feature_set.names == feature_set.numeric + feature_set.categorical
    assert feature_set.vocabularies["COUNTRY"] == Vocabulary(("DE", "FR"))
    assert feature_set.cardinalities == (4, 3)


def test_arrays_hold_nan_for_missing_numbers_and_codes_for_categories() -> None:
    arrays = fitted().transform(shop_rows())

    expected = [[0.0, 2.0, np.nan, 1.0, 0.0], [23.0, 0.0, 1.5, 0.0, np.nan]]
    assert np.array_equal(
        arrays.numeric[[0, 23]], np.array(expected, dtype=np.float32), equal_nan=True
    )
    assert arrays.categorical[[0, 23, 24]].tolist() == [[2, 2], [1, 0], [1, 1]]
    assert (arrays.numeric.dtype, arrays.categorical.dtype) == (np.float32, np.int64)
    assert arrays.numeric.flags.c_contiguous
    assert arrays.categorical.flags.c_contiguous


def test_encoding_a_feature_table_equals_transforming_its_rows() -> None:
    feature_set = fitted()
    table = shop_rows().with_columns(
        night=(pl.col("AT").dt.hour() <= 6).cast(pl.Float64),
        rate=pl.when(pl.col("AGE") > 0).then(pl.col("AMOUNT") / pl.col("AGE")),
    )

    assert_same(feature_set.encode(table), feature_set.transform(shop_rows()))


def test_rows_alone_and_in_long_tables_give_the_same_arrays() -> None:
    feature_set = fitted()
    table = pl.concat([shop_rows()] * 400)

    together = feature_set.transform(table)

    assert_same(take(together, slice(9_000, 9_025)), feature_set.transform(shop_rows()))
    one = feature_set.transform(shop_rows()[7])
    assert_same(one, take(together, slice(7, 8)))


def test_optional_columns_may_be_absent_and_count_as_missing() -> None:
    arrays = fitted().transform(shop_rows().drop("DISTANCE", "DEVICE"))

    assert np.isnan(arrays.numeric[:, 2]).all()
    assert (arrays.categorical[:, 1] == 0).all()


@pytest.mark.parametrize("name", ["AMOUNT", "AGE", "COUNTRY", "AT"])
def test_a_missing_column_is_named(name: str) -> None:
    with pytest.raises(FeatureSetMismatch, match=f"lack column '{name}'.*Add it"):
        fitted().transform(shop_rows().drop(name))


def test_a_missing_derived_column_is_named_when_a_table_is_encoded() -> None:
    with pytest.raises(FeatureSetMismatch, match="lack column 'night'"):
        fitted().encode(shop_rows())


def test_no_rows_give_empty_arrays() -> None:
    arrays = fitted().transform(shop_rows().clear())

    assert (arrays.numeric.shape, arrays.categorical.shape) == ((0, 5), (0, 2))


def test_no_categories_give_an_array_without_columns() -> None:
    plain = contract(columns={"numeric": ["AGE"]}, derived={}, split={"by": "random"})
    feature_set = FeatureSet.fit(plain, shop_rows(), input_types={})

    arrays = feature_set.transform(shop_rows())

    assert (arrays.numeric.shape, arrays.categorical.shape) == ((25, 1), (25, 0))


def test_a_number_beyond_float32_becomes_infinite_without_a_warning() -> None:
    arrays = fitted().transform(shop_rows().with_columns(AMOUNT=pl.lit(1e300)))

    assert np.isinf(arrays.numeric[:, 0]).all()


def test_unknown_categories_are_flagged_by_row() -> None:
    feature_set = fitted()

    flags = feature_set.unknown_categories(feature_set.transform(shop_rows()))

    assert list(flags) == ["COUNTRY", "DEVICE"]
    assert np.flatnonzero(flags["COUNTRY"]).tolist() == [22, 23, 24]
    assert np.flatnonzero(flags["DEVICE"]).tolist() == [24]
    assert feature_set.unknown_categories(feature_set.transform(shop_rows()[:5])) == {}


def test_json_gives_the_same_feature_set_back_whatever_the_order_of_its_keys() -> None:
    feature_set = fitted()

    text = json.dumps(feature_set.to_json(), sort_keys=True)
    read = FeatureSet.from_json(json.loads(text))

    assert (read.hash, read.numeric) == (feature_set.hash, feature_set.numeric)
    assert read.input_types == TYPES
    assert_same(read.transform(shop_rows()), feature_set.transform(shop_rows()))


def test_another_format_is_refused() -> None:
    with pytest.raises(FeatureSetMismatch, match="format 99, this build reads 1"):
        FeatureSet.from_json({**fitted().to_json(), "format": 99})


COLUMNS = SHOP["columns"]
DERIVED = SHOP["derived"]
MEANING: dict[str, Callable[[], FeatureSet]] = {
    "a derived expression": lambda: fitted(derived={**DERIVED, "rate": "AMOUNT / (AGE + 1)"}),
    "spaces inside a text": lambda: fitted(derived={**DERIVED, "x": "COUNTRY = ' '"}),
    "the order of numbers": lambda: fitted(columns={**COLUMNS, "numeric": ["DISTANCE", "AGE"]}),
    "the order of derived": lambda: fitted(derived=dict(reversed(DERIVED.items()))),
    "one feature less": lambda: fitted(columns={**COLUMNS, "categorical": ["DEVICE"]}),
    "the clock that an expression reads": lambda: fitted(
        columns={**COLUMNS, "event_time": {"column": "AT", "time_zone": "Europe/Paris"}}
    ),
    "a vocabulary": lambda: FeatureSet.fit(
        contract(), shop_rows(), input_types=TYPES, min_count=3
    ),
}  # fmt: skip


@pytest.mark.parametrize("change", MEANING)
def test_the_hash_changes_with(change: str) -> None:
    assert MEANING[change]().hash != fitted().hash


NO_MEANING: dict[str, Callable[[], FeatureSet]] = {
    "the name": lambda: fitted(name="store"),
    "policy": lambda: fitted(policy={"on_stall": "refuse"}),
    "reasons": lambda: fitted(reasons={"deny": ["AGE"], "benign": {"AGE": 3}}),
    "the label": lambda: fitted(label={"column": "IS_FRAUD", "delay": "7d"}),
    "the split": lambda: fitted(split={"by": "random", "seed": 3}),
    "expectations": lambda: fitted(expectations={"AGE": {"min": 0}}),
    "white space": lambda: fitted(derived={**DERIVED, "rate": " AMOUNT  /\n AGE"}),
    "row order": lambda: FeatureSet.fit(contract(), shop_rows().reverse(), input_types=TYPES),
}


@pytest.mark.parametrize("change", NO_MEANING)
def test_the_hash_does_not_change_with(change: str) -> None:
    assert NO_MEANING[change]().hash == fitted().hash


def test_the_hash_does_not_change_with_a_clock_that_no_expression_reads() -> None:
    paris = {**COLUMNS, "event_time": {"column": "AT", "time_zone": "Europe/Paris"}}
    rate = {"rate": DERIVED["rate"]}

    assert fitted(columns=paris, derived=rate).hash == fitted(derived=rate).hash


@pytest.mark.parametrize(
    ("benign", "message"),
    [
        ({"AGES": 3}, "reasons.benign names 'AGES', which is no feature"),
        ({"AGE": "old"}, "reasons.benign.AGE must be a number.*Got 'old'"),
    ],
)
def test_a_benign_reference_that_fits_no_feature_is_refused(
    benign: dict[str, Any], message: str
) -> None:
    with pytest.raises(ContractError, match=message):
        fitted(reasons={"benign": benign})


def assert_same(first: FeatureArrays, second: FeatureArrays) -> None:
    assert np.array_equal(first.numeric, second.numeric, equal_nan=True)
    assert np.array_equal(first.categorical, second.categorical)


def take(arrays: FeatureArrays, rows: slice) -> FeatureArrays:
    return FeatureArrays(arrays.numeric[rows], arrays.categorical[rows])

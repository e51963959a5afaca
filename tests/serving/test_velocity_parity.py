"""A release is stopped where the online state would say something else than the table."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from features.contract import Contract, parse_contract
from features.labels import reported_labels
from features.velocity_table import add_velocity
from serving.parity import ParityBroken, check_parity
from serving.scorer import Scorer
from serving.velocity_parity import VelocityParity, compare_served, replay_velocity


@pytest.fixture
def contract(corner_contract: dict[str, Any]) -> Contract:
    """The corner shop with a pair, and with reports of labels."""
    columns = corner_contract["columns"] | {"entities": ["CUSTOMER", "DEVICE"]}
    columns |= {"categorical": ["COUNTRY"]}
    label = corner_contract["label"] | {"reported_at": "REPORTED"}
    pair = {"entity": ["CUSTOMER", "DEVICE"], "windows": ["3d"], "aggregates": ["amount_mean"]}
    changes = {
        "columns": columns,
        "label": label,
        "expectations": {},
        "velocity": [*corner_contract["velocity"], pair],
    }
    return parse_contract(corner_contract | changes, source="tests")


@pytest.fixture
def rows(table, contract: Contract) -> pl.DataFrame:
    """A table whose frauds came to light after between one and ten days."""
    random = np.random.default_rng(5)
    frame = table(400)
    is_fraud = pl.Series(random.random(400) < 0.2)
    days = pl.Series([timedelta(days=float(day)) for day in random.uniform(1, 10, 400)])
    frame = frame.with_columns(
        IS_FRAUD=is_fraud.cast(pl.Int8),
        REPORTED=pl.when(is_fraud).then(pl.col("PLACED_AT") + days),
    )
    return reported_labels(frame, contract)


@pytest.fixture
def expected(rows: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    return add_velocity(rows, contract).with_columns(is_known=pl.lit(value=True))


def test_a_replay_of_whole_tables_equals_them(contract, rows, expected) -> None:
    record = replay_velocity(contract, rows, expected, most_events=3 * 400)

    n_pairs = rows.select("CUSTOMER", "DEVICE").drop_nulls().unique().height
    n_without_device = rows["DEVICE"].null_count()
    assert record.problems() == []
    assert (record.n_events, record.n_different) == (400, 0)
    assert record.n_entities == rows["CUSTOMER"].n_unique() + n_pairs
    assert record.n_values == 400 * 4 + 400 - n_without_device


def test_a_sample_holds_whole_pasts(contract, rows, expected) -> None:
    record = replay_velocity(contract, rows, expected, most_events=100)

    assert record.problems() == []
    assert 50 <= record.n_events < 250
    assert 0 < record.n_values < 5 * record.n_events


def test_of_an_entity_with_many_rows_the_first_are_taken(contract, rows) -> None:
    one = rows.with_columns(CUSTOMER=pl.lit("5"), DEVICE=pl.lit("1"))
    expected = add_velocity(one, contract).with_columns(is_known=pl.lit(value=True))

    record = replay_velocity(contract, one, expected, most_events=60)

    assert record.problems() == []
    assert (record.n_events, record.n_entities) == (30, 2)


def test_rows_that_the_table_left_out_are_part_of_the_past_only(contract, rows, expected) -> None:
    is_known = pl.Series([at % 2 == 0 for at in range(400)])

    record = replay_velocity(
        contract, rows, expected.with_columns(is_known=is_known), most_events=1_200
    )

    assert record.problems() == []
    assert record.n_events == 400
    assert record.n_values < 200 * 5


@pytest.mark.parametrize(
    ("change", "feature"),
    [
        (pl.col("CUSTOMER_count_1d") + 1, "CUSTOMER_count_1d"),
        (pl.col("CUSTOMER_DEVICE_amount_mean_3d") * (1 + 1e-11), "CUSTOMER_DEVICE_amount_mean_3d"),
        (pl.col("CUSTOMER_label_rate_7d").fill_null(0.0), "CUSTOMER_label_rate_7d"),
    ],
)
def test_a_table_that_says_otherwise_stops_a_release(
    contract, rows, expected, *, change: pl.Expr, feature: str
) -> None:
    record = replay_velocity(contract, rows, expected.with_columns(change), most_events=1_200)

    assert record.first_different_feature == feature
    (problem,) = record.problems()
    assert f"the first in {feature}" in problem


def test_nothing_compared_is_no_parity(contract, rows, expected) -> None:
    nobody = rows.with_columns(CUSTOMER=pl.lit(None, dtype=pl.String))

    (problem,) = replay_velocity(contract, nobody, expected).problems()

    assert "no feature over time could be compared" in problem


def test_the_record_of_a_release_holds_the_replay(scorer: Scorer, table) -> None:
    frame = table(50)
    sound = VelocityParity(
        n_entities=3, n_events=50, n_values=90, n_different=0, first_different_feature=None,
        largest_difference=0.0,
    )  # fmt: skip
    logits = scorer.score_frame(frame).logits

    record = check_parity(
        scorer.bundle, scorer.policy, frame, trained_logits=logits, velocity=sound
    )
    broken = replace(
        record,
        velocity=replace(sound, n_different=2, first_different_feature="X", largest_difference=1.0),
    )

    record.require()
    assert record.to_json()["velocity"]["n_values"] == 90
    with pytest.raises(ParityBroken, match="2 of 90 values of features over time differ"):
        broken.require()


def test_rows_that_were_served_must_be_in_the_table_as_they_were(contract, expected) -> None:
    served = expected.rename({"ORDER_ID": "row_id"})
    table = served.filter(pl.col("CUSTOMER_count_1d").is_not_null()).head(300)
    first = float(table["CUSTOMER_count_1d"][0])
    changed = table["CUSTOMER_count_1d"].scatter(0, np.nextafter(first, first + 1))

    same = compare_served(contract, served, table)
    other = compare_served(contract, served, table.with_columns(changed))

    n_features = len(contract.velocity_features)
    assert (same.n_events, same.n_values, same.n_different) == (300, 300 * n_features, 0)
    assert same.problems() == []
    assert (other.n_different, other.first_different_feature) == (1, "CUSTOMER_count_1d")
    assert "between what was served to 300 rows and the table" in other.problems()[0]


def test_without_rows_in_common_nothing_is_shown(contract, expected) -> None:
    served = expected.rename({"ORDER_ID": "row_id"})

    record = compare_served(contract, served, served.with_columns(row_id=pl.lit("other")))

    assert record.problems() == [
        "no feature over time could be compared: no row has all of an entity"
    ]

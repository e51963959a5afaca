"""Every feature over time against its definition, row by row."""

import math
import random
from datetime import UTC, datetime, timedelta
from statistics import stdev
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features import velocity_events
from features.contract import Contract, parse_contract
from features.ingestion.conforming import conform
from features.ingestion.data_error import DataError
from features.velocity import LabelRateFeature, VelocityFeature, velocity_plan
from features.velocity_table import add_velocity

START = datetime(2024, 3, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
LARGEST = 10**12  # minor units
AGGREGATES = [
    "count", "amount_sum", "amount_mean", "amount_max", "amount_min", "amount_std",
    "amount_to_mean", "distinct:shop", "share:mode=chip", "seconds_since_last",
    "count_ratio:6h", "amount_mean_ratio:6h",
]  # fmt: skip
PAIR_AGGREGATES = ["count", "amount_max", "distinct:mode", "seconds_since_last"]

Row = dict[str, Any]


def contract(**label: Any) -> Contract:
    """A contract with every aggregate, for an entity and for a pair, and label rates."""
    document = {
        "name": "cards",
        "columns": {
            "id": "tx",
            "event_time": "when",
            "amount": {"column": "amount", "currency": "EUR"},
            "entities": ["card", "shop"],
            "categorical": ["mode"],
        },
        "label": {"column": "fraud", "delay": "90min", **label},
        "velocity": [
            {"entity": "card", "windows": ["1h", "3h"], "aggregates": AGGREGATES},
            {"entity": ["card", "shop"], "windows": ["2h"], "aggregates": PAIR_AGGREGATES},
        ],
        "label_rate": [
            {"entity": "shop", "windows": ["1h", "5h"]},
            {"entity": ["shop", "card"], "windows": ["4h"]},
        ],
    }
    return parse_contract(document, source="test")


CONTRACT = contract(reported_at="known")
NAMES = velocity_plan(CONTRACT).names

moments = st.builds(
    lambda halves, us: START + halves * HOUR / 2 + timedelta(microseconds=us),
    st.integers(0, 16),
    st.sampled_from([0, 0, 0, 1, -1]),
)
amounts = st.one_of(
    st.none(),
    st.integers(-500, 500),
    st.sampled_from([0, LARGEST, -LARGEST, LARGEST + 1, 10**17]),
)
rows = st.fixed_dictionaries(
    {
        "when": st.one_of(st.none(), moments, moments, moments, moments),
        "minor": amounts,
        "card": st.sampled_from(["a", "b", None]),
        "shop": st.sampled_from(["x", "y", "z", None]),
        "mode": st.sampled_from(["chip", "swipe", None]),
        "label": st.sampled_from([0, 1, 1, None]),
        "label_reported_at": st.one_of(st.none(), moments),
    }
)
tables = st.lists(rows, max_size=24)


def frame_of(table: list[Row]) -> pl.DataFrame:
    schema = {
        "when": pl.Datetime("us", "UTC"),
        "minor": pl.Int64,
        "card": pl.String,
        "shop": pl.String,
        "mode": pl.String,
        "label": pl.Int8,
        "label_reported_at": pl.Datetime("us", "UTC"),
    }
    frame = pl.DataFrame(table, schema=schema)
    return frame.with_columns(amount=pl.col("minor") / 100)


def by_definition(table: list[Row], declared: Contract) -> list[list[float | None]]:
    """Every feature of every row, from the words of the definition."""
    plan = velocity_plan(declared)
    return [[value_of(each, row, table, declared) for each in plan.features] for row in table]


def value_of(
    feature: VelocityFeature | LabelRateFeature, row: Row, table: list[Row], declared: Contract
) -> float | None:
    if row["when"] is None or any(row[name] is None for name in feature.entity):
        return None
    own = [
        each
        for each in table
        if each["when"] is not None and all(each[name] == row[name] for name in feature.entity)
    ]
    if isinstance(feature, LabelRateFeature):
        return label_value(feature, row, own, declared)
    if feature.aggregate == "count_ratio":
        assert feature.longer is not None
        n, n_longer = (len(in_window(own, row, w)) for w in (feature.window, feature.longer))
        return (n / feature.window.total_seconds()) / (
            n_longer / feature.longer.total_seconds()
        ) if n_longer else None  # fmt: skip
    return velocity_value(feature, row, own)


def in_window(own: list[Row], row: Row, window: timedelta) -> list[Row]:
    return [each for each in own if row["when"] - window <= each["when"] < row["when"]]


def counted(amount: int | None) -> bool:
    return amount is not None and abs(amount) <= LARGEST


def velocity_value(feature: VelocityFeature, row: Row, own: list[Row]) -> float | None:
    past = in_window(own, row, feature.window)
    if feature.aggregate == "count":
        return len(past)
    if feature.aggregate == "seconds_since_last":
        return min(((row["when"] - each["when"]).total_seconds() for each in past), default=None)
    if feature.column is not None:
        known = [each[feature.column] for each in past if each[feature.column] is not None]
        if feature.aggregate == "distinct":
            return len(set(known))
        return known.count(feature.value) / len(known) if known else None
    return amount_value(feature, row, own)


def amount_value(feature: VelocityFeature, row: Row, own: list[Row]) -> float | None:
    minor, longer = (
        [each["minor"] for each in in_window(own, row, window) if counted(each["minor"])]
        for window in (feature.window, feature.longer or feature.window)
    )
    mean = sum(minor) / len(minor) if minor else 0
    is_scaled = minor and sum(longer)
    values = {
        "amount_sum": sum(minor) / 100,
        "amount_mean": mean / 100 if minor else None,
        "amount_max": max(minor) / 100 if minor else None,
        "amount_min": min(minor) / 100 if minor else None,
        "amount_std": stdev(minor) / 100 if len(minor) > 1 else None,
        "amount_to_mean": row["minor"] / mean if mean and counted(row["minor"]) else None,
        "amount_mean_ratio": mean / (sum(longer) / len(longer)) if is_scaled else None,
    }
    return values[feature.aggregate]


def label_value(
    feature: LabelRateFeature, row: Row, own: list[Row], declared: Contract
) -> float | None:
    known = [
        label
        for each in own
        if row["when"] - feature.delay - feature.window
        <= each["when"]
        < row["when"] - feature.delay
        for label in [label_at(each, row["when"], declared)]
        if label is not None
    ]
    if feature.kind == "count":
        return len(known)
    return sum(known) / len(known) if known else None


def label_at(event: Row, moment: datetime, declared: Contract) -> int | None:
    """The event's label as it was known strictly before a moment, the delay having passed."""
    reported = event["label_reported_at"] if declared.label.reported_at else None
    is_known = event["label"] is not None and (reported is None or reported < moment)
    if declared.label.absent_means == "negative":
        return int(is_known and event["label"] == 1)
    return event["label"] if is_known else None


def assert_equal(found: pl.DataFrame, expected: list[list[float | None]], names: Any) -> None:
    for at, name in enumerate(names):
        for row, (value, wanted) in enumerate(
            zip(found[name], (values[at] for values in expected), strict=True)
        ):
            assert (value is None) == (wanted is None), (name, row, value, wanted)
            if wanted is not None:
                assert math.isclose(value, wanted, rel_tol=1e-12, abs_tol=0), (name, row)


@settings(max_examples=150)
@given(tables, st.sampled_from([{}, {"absent_means": "negative"}, {"delay": "0s"}]))
def test_every_feature_is_what_its_definition_says(table: list[Row], label: dict[str, Any]) -> None:
    declared = contract(**{"reported_at": "known", **label})

    found = add_velocity(frame_of(table), declared)

    assert_equal(found, by_definition(table, declared), NAMES)
    assert found.select(NAMES).dtypes == [pl.Float64] * len(NAMES)


@settings(max_examples=40)
@given(tables, st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing(table: list[Row], chance: random.Random) -> None:
    numbered = frame_of(table).with_row_index("tx")
    order = chance.sample(range(len(table)), len(table))

    shuffled = add_velocity(numbered[order], CONTRACT).sort("tx")

    assert shuffled.equals(add_velocity(numbered, CONTRACT))


@settings(max_examples=40)
@given(tables, st.integers(0, 24))
def test_history_is_seen_as_if_it_stood_in_the_table(table: list[Row], n_history: int) -> None:
    frame = frame_of(table)
    history, later = frame[:n_history], frame[n_history:]

    found = add_velocity(later, CONTRACT, history=history)

    assert found.equals(add_velocity(frame, CONTRACT)[n_history:])


def stream(n_rows: int, *, seed: int = 0) -> pl.DataFrame:
    """Random rows of a few entities; half-hour steps, so that instants are shared."""
    chance = random.Random(seed)
    kinds = {"card": ["a", "b", "c"], "shop": ["x", "y", None], "mode": ["chip", "swipe", None]}
    halves = sorted(chance.randrange(48) for _ in range(n_rows))
    return frame_of(
        [
            {
                "when": START + half * HOUR / 2,
                "minor": chance.choice([None, 0, *range(-300, 3000, 7)]),
                "label": chance.choice([0, 1, None]),
                "label_reported_at": chance.choice([None, START + chance.random() * 24 * HOUR]),
                **{name: chance.choice(values) for name, values in kinds.items()},
            }
            for half in halves
        ]
    )


def rewritten(frame: pl.DataFrame, moment: datetime) -> pl.DataFrame:
    """Everything that was not known before a moment made different."""
    is_later = pl.col("when") >= moment
    is_unseen = pl.max_horizontal("label_reported_at", pl.col("when") + HOUR * 1.5) >= moment
    return frame.with_columns(
        amount=pl.when(is_later).then(-99.5).otherwise("amount"),
        card=pl.when(is_later).then(pl.lit("a")).otherwise("card"),
        shop=pl.when(is_later).then(pl.lit("x")).otherwise("shop"),
        mode=pl.when(is_later).then(pl.lit("chip")).otherwise("mode"),
        label=pl.when(is_later | is_unseen)
        .then(1 - pl.col("label").fill_null(0))
        .otherwise("label"),
        label_reported_at=pl.when(is_later).then(None).otherwise("label_reported_at"),
    ).with_columns(pl.col("label").cast(pl.Int8))


@pytest.mark.parametrize("name", NAMES)
def test_no_later_row_or_label_changes_a_feature(name: str) -> None:
    frame = stream(400)
    honest = add_velocity(frame, CONTRACT)[name]
    n_changed = 0

    for half in (5, 16, 31, 40):
        moment = START + half * HOUR / 2
        changed = add_velocity(rewritten(frame, moment), CONTRACT)[name]
        earlier = (frame["when"] < moment).to_numpy()
        assert changed.filter(earlier).equals(honest.filter(earlier))
        n_changed += (changed.ne_missing(honest)).sum()

    assert n_changed > 0


@pytest.mark.parametrize("name", NAMES)
def test_a_row_at_the_same_instant_is_not_seen(name: str) -> None:
    frame = stream(300, seed=1)
    moment = START + 20 * HOUR / 2
    at_once = frame.with_columns(
        amount=pl.when(pl.col("when") == moment).then(77.0).otherwise("amount"),
    )
    more = pl.concat([frame, at_once.filter(pl.col("when") == moment)])
    is_then = (frame["when"] == moment).to_numpy()

    found = add_velocity(more, CONTRACT)[name][: frame.height]

    assert is_then.sum() > 1
    assert found.filter(is_then).equals(add_velocity(frame, CONTRACT)[name].filter(is_then))


def test_blocks_of_entities_give_what_one_block_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = stream(500)
    whole = add_velocity(frame, CONTRACT)

    monkeypatch.setattr(velocity_events, "_BLOCK_ROWS", 60)

    assert add_velocity(frame, CONTRACT).equals(whole)


def test_entities_that_overflow_the_axis_are_parted() -> None:
    """Two rows ten thousand years apart leave room for few entities at once."""
    moments = [datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)]
    table = [
        {"when": moment + shift, "minor": 100, "card": f"c{card}"}
        for card in range(40)
        for moment in moments
        for shift in (timedelta(0), HOUR / 2)
    ]

    found = add_velocity(frame_of(table), CONTRACT)

    assert found["card_count_1h"].to_list() == [0, 1, 0, 1] * 40
    assert found["card_amount_sum_3h"].to_list() == [0, 1, 0, 1] * 40


def test_sums_of_a_hot_entity_are_exact() -> None:
    """A hundred thousand rows of one entity, with amounts that floats would not add up."""
    n_rows = 100_000
    minor = np.where(np.arange(n_rows) % 2, LARGEST - 1, 1)
    times = np.arange(n_rows, dtype=np.int64) * 30_000_000  # 120 rows an hour
    frame = frame_of([]).clear(n_rows).with_columns(
        when=pl.Series(times).cast(pl.Datetime("us", "UTC")),
        amount=pl.Series(minor) / 100,
        card=pl.lit("a"),
        shop=pl.lit("x"),
    )  # fmt: skip

    found = add_velocity(frame, CONTRACT)

    assert found["card_count_1h"][120:].unique().to_list() == [120]
    assert found["card_amount_sum_1h"][120:].unique().to_list() == [60 * LARGEST / 100]
    assert found["card_amount_max_3h"][400:].unique().to_list() == [(LARGEST - 1) / 100]
    spread = stdev([LARGEST - 1, 1] * 60) / 100
    assert found["card_amount_std_1h"][120:].to_numpy() == pytest.approx(spread, rel=1e-12)


def test_a_window_is_as_long_on_the_day_the_clocks_change() -> None:
    """In Paris 01:30 and 03:15 of 31 March 2024 are three quarters of an hour apart."""
    columns = {"event_time": {"column": "when", "time_zone": "Europe/Paris"}}
    document = CONTRACT.model_dump(mode="json")
    local = parse_contract(
        {**document, "columns": {**document["columns"], **columns}}, source="test"
    )
    table = pl.DataFrame(
        {
            "tx": [1, 2, 3],
            "when": ["2024-03-31 01:30", "2024-03-31 03:15", "2024-03-31 03:31"],
            "amount": [1.0, 1.0, 1.0],
            "card": ["a"] * 3,
            "shop": ["x"] * 3,
            "mode": ["chip"] * 3,
            "fraud": [0, 1, 0],
            "known": [None] * 3,
        },
        schema_overrides={"known": pl.String},
    )

    found = add_velocity(conform(table, local), local)

    assert found["card_count_1h"].to_list() == [0, 1, 1]
    assert found["card_seconds_since_last"].to_list() == [None, 45 * 60, 16 * 60]


def test_labels_are_read_from_their_own_columns_where_nobody_attached_them() -> None:
    frame = stream(200)
    attached = add_velocity(frame, CONTRACT)
    own = frame.drop("label", "label_reported_at").with_columns(
        fraud=frame["label"], known=frame["label_reported_at"]
    )

    assert add_velocity(own, CONTRACT).select(NAMES).equals(attached.select(NAMES))


def test_without_labels_no_rate_is_known() -> None:
    found = add_velocity(stream(200).drop("label"), CONTRACT)

    assert found["shop_label_rate_5h"].null_count() == found.height
    assert found["shop_label_count_5h"].drop_nulls().unique().to_list() == [0]


def test_a_table_without_rows_gets_its_columns() -> None:
    found = add_velocity(frame_of([]), CONTRACT)

    assert found.height == 0
    assert set(NAMES) <= set(found.columns)


def test_a_missing_column_is_named() -> None:
    with pytest.raises(DataError, match="lacks column 'shop', which features over time read"):
        add_velocity(stream(10).drop("shop"), CONTRACT)


def test_rows_out_of_order_are_counted() -> None:
    events = velocity_events.TableEvents.of(
        frame_of([{"when": START + hour * HOUR} for hour in (0, 3, 1, 2, 3, 5)] + [{"when": None}]),
        CONTRACT,
    )

    assert events.n_out_of_order == 2

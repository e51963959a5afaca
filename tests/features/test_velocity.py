"""What a contract's windows over time compile to, and what is refused when it is read."""

import tomllib
from datetime import timedelta

import pytest

from features.contract import Contract, ContractError, parse_contract
from features.velocity import LabelRateFeature, VelocityFeature, velocity_plan

HEAD = """
name = "cards"
[columns]
id = "tx"
event_time = "when"
amount = {column = "amount", currency = "EUR"}
entities = ["card", "shop"]
categorical = ["mode"]
drop = ["card_count_30d"]
[label]
column = "fraud"
delay = "7d"
"""
VELOCITY = """
[[velocity]]
entity = "card"
windows = ["24h", "7d"]
aggregates = ["count", "distinct:shop", "share:mode=chip", "count_ratio:30d", "seconds_since_last"]
"""
PAIR = """
[[velocity]]
entity = ["card", "shop"]
windows = ["1h"]
aggregates = ["amount_mean"]
"""
LABEL_RATE = """
[[label_rate]]
entity = "shop"
windows = ["30d"]
"""


def contract_from(text: str) -> Contract:
    return parse_contract(tomllib.loads(text), source="test.toml")


def test_names_say_entity_aggregate_and_window_in_the_order_of_the_declarations() -> None:
    contract = contract_from(HEAD + VELOCITY + PAIR + LABEL_RATE)

    assert velocity_plan(contract).names == (
        "card_count_1d",
        "card_count_7d",
        "card_distinct_shop_1d",
        "card_distinct_shop_7d",
        "card_share_mode_chip_1d",
        "card_share_mode_chip_7d",
        "card_count_ratio_30d_1d",
        "card_count_ratio_30d_7d",
        "card_seconds_since_last",
        "card_shop_amount_mean_1h",
        "shop_label_rate_30d",
        "shop_label_count_30d",
    )


def test_features_over_time_come_last_among_the_numeric_features() -> None:
    derived = "[derived]\nis_chip = \"mode = 'chip'\"\n"

    contract = contract_from(HEAD + derived + VELOCITY)

    assert contract.numeric_features[:3] == ("amount", "is_chip", "card_count_1d")
    assert contract.numeric_features[2:] == velocity_plan(contract).names


def test_features_carry_what_they_look_at() -> None:
    plan = velocity_plan(contract_from(HEAD + VELOCITY + LABEL_RATE))
    by_name = {feature.name: feature for feature in plan.features}
    day, month = timedelta(days=1), timedelta(days=30)

    assert by_name["card_share_mode_chip_1d"] == VelocityFeature(
        "card_share_mode_chip_1d", ("card",), "share", day, column="mode", value="chip"
    )
    assert by_name["card_count_ratio_30d_1d"] == VelocityFeature(
        "card_count_ratio_30d_1d", ("card",), "count_ratio", day, longer=month
    )
    assert by_name["card_seconds_since_last"] == VelocityFeature(
        "card_seconds_since_last", ("card",), "seconds_since_last", timedelta(days=7)
    )
    assert by_name["shop_label_rate_30d"] == LabelRateFeature(
        "shop_label_rate_30d", ("shop",), "rate", month, timedelta(days=7)
    )


def test_the_plan_says_what_events_must_hold_and_for_how_long() -> None:
    plan = velocity_plan(contract_from(HEAD + VELOCITY + PAIR + LABEL_RATE))

    assert plan.entities == (("card",), ("card", "shop"), ("shop",))
    assert plan.value_columns == ("shop", "mode")
    assert plan.source_columns == ("when", "amount", "card", "shop", "mode")
    assert plan.horizon(("card",)) == timedelta(days=30)
    assert plan.horizon(("card", "shop")) == timedelta(hours=1)
    assert plan.horizon(("shop",)) == timedelta(days=37)
    assert plan.longest_horizon == timedelta(days=37)


def test_a_contract_without_windows_has_an_empty_plan() -> None:
    plan = velocity_plan(contract_from(HEAD))

    assert not plan
    assert plan.names == plan.entities == plan.value_columns == plan.source_columns == ()
    assert plan.longest_horizon == timedelta(0)


def test_the_state_key_follows_what_events_hold_and_nothing_else() -> None:
    text = HEAD + VELOCITY + LABEL_RATE
    key = velocity_plan(contract_from(text)).state_key

    assert velocity_plan(contract_from(text + '[policy]\nmax_clock_skew = "1h"\n')).state_key == key
    for old, new in [
        ('windows = ["30d"]', 'windows = ["31d"]'),
        ('delay = "7d"', 'delay = "8d"'),
        ('delay = "7d"', 'delay = "7d"\nabsent_means = "negative"'),
        ("EUR", "JPY"),
        ("share:mode=chip", "share:mode=swipe"),
        ('event_time = "when"', 'event_time = {column = "when", time_zone = "Europe/Paris"}'),
    ]:
        assert old in text
        assert velocity_plan(contract_from(text.replace(old, new))).state_key != key


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('entity = "card"', 'entity = "crad"', "'crad' is not one of columns.entities; did you"),
        ('entity = "card"', 'entity = "mode"', "'mode' is not one of columns.entities"),
        ('entity = "card"', 'entity = ["card", "card"]', "names 'card' twice"),
        ('entity = "card"', "entity = []", "velocity.entity is empty"),
        ('"24h", "7d"', "", "velocity.0.windows"),
        ('"24h", "7d"', '"7d", "1w"', "'7d' stands there twice"),
        ('"24h", "7d"', '"0d"', "a window is longer than 0s"),
        ('"24h", "7d"', '"200000w"', "at most 36525d"),
        ('"24h", "7d"', '"99999999999999d"', "too long"),
        ('"24h", "7d"', '"1 day"', "a duration is a whole number"),
        ('["count", ', '["cuont", ', "unknown aggregate 'cuont'; did you mean 'count'?"),
        ('["count", ', '["dstinct:shop", ', "did you mean 'distinct:COLUMN'?"),
        ('["count", ', '["count:shop", ', "'count' takes no argument"),
        ('["count", ', '["distinct", ', "write distinct:COLUMN"),
        ('["count", ', '["share:mode", ', "write share:COLUMN=VALUE"),
        ('["count", ', '["amount_mean_ratio", ', "write amount_mean_ratio:LONGER_WINDOW"),
        ('["count", ', '["amount_mean_ratio:month", ', "a duration is a whole number"),
        ('["count", ', '["count", "count", ', "has the name of feature 'card_count_1d'"),
        ("count_ratio:30d", "count_ratio:7d", "needs a window longer than each"),
        ("distinct:shop", "distinct:shp", "neither an entity nor categorical; did you mean 'shop'"),
        ("distinct:shop", "distinct:amount", "neither an entity nor categorical"),
        ("distinct:shop", "distinct:card", "the same for every row of its entity"),
        ('drop = ["card_count_30d"]', 'drop = ["card_count_7d"]', "a column has the name"),
        (
            'amount = {column = "amount", currency = "EUR"}\n',
            "",
            "'amount_mean' needs columns.amou",
        ),
        ("[label]", "[derived]\nshop_label_rate_30d = \"mode = 'x'\"\n[label]", "a derived column"),
    ],
)
def test_windows_that_do_not_fit_are_refused_in_one_line(old: str, new: str, message: str) -> None:
    text = HEAD + VELOCITY + PAIR + LABEL_RATE
    assert old in text

    with pytest.raises(ContractError) as refused:
        contract_from(text.replace(old, new, 1))

    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_same_block_twice_is_a_name_clash() -> None:
    with pytest.raises(ContractError, match=r"another \[\[velocity\]\] or \[\[label_rate\]\] has"):
        contract_from(HEAD + LABEL_RATE + LABEL_RATE)

"""The frauds themselves: where and when each scenario strikes."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from features.simulation.fraud_plan import ScenarioSettings, apportion
from features.simulation.fraud_scenarios import SCENARIOS, ScenarioName
from features.simulation.transactions import TransactionSimulation, simulate_transactions

START = datetime(2025, 1, 1, tzinfo=UTC)


def only(name: ScenarioName, n_rows: int = 20_000, **settings: object) -> pl.DataFrame:
    """Return the frauds of a stream in which one scenario occurs."""
    frame = simulate_transactions(
        n_rows, seed=21, fraud_rate=0.05, scenarios=[{"name": name, **settings}]
    )
    return frame.filter(pl.col("TX_FRAUD_SCENARIO") > 0)


def test_shares_become_whole_rows_by_largest_remainder() -> None:
    assert apportion(10, np.array([0.5, 0.26, 0.24])) == [5, 3, 2]
    assert apportion(1, np.array([0.2, 0.5, 0.3])) == [0, 1, 0]
    assert apportion(0, np.array([1.0])) == [0]


def test_compromised_terminals_defraud_only_within_their_window() -> None:
    world = TransactionSimulation(n_rows=60_000, seed=3, fraud_rate=0.02).stream()
    frauds = pl.concat(world.days()).filter(pl.col("TX_FRAUD_SCENARIO") == 2)
    windows = world.compromised_terminals()
    joined = frauds.join(windows, on="TERMINAL_ID", how="left")

    assert frauds.height == 264
    assert joined.height == frauds.height
    assert joined["FIRST"].null_count() == 0
    assert (joined["TX_DATETIME"] >= joined["FIRST"]).all()
    assert (joined["TX_DATETIME"] < joined["END"]).all()
    assert set(windows["TERMINAL_ID"]) == set(frauds["TERMINAL_ID"])


def test_a_window_lasts_two_to_four_weeks() -> None:
    windows = TransactionSimulation(n_rows=60_000, seed=3, fraud_rate=0.02).stream()
    length = windows.compromised_terminals().select(pl.col("END") - pl.col("FIRST")).to_series()

    assert length.min() >= timedelta(days=14)
    assert length.max() <= timedelta(days=28)


def test_amounts_at_compromised_terminals_look_ordinary() -> None:
    frame = simulate_transactions(60_000, seed=3, fraud_rate=0.02)
    shops = frame.filter(~pl.col("ENTRY_MODE").is_in(["ecommerce", "card_on_file"]))
    usual = shops.filter(pl.col("TX_FRAUD") == 0)["TX_AMOUNT"].median()
    skimmed = frame.filter(pl.col("TX_FRAUD_SCENARIO") == 2)["TX_AMOUNT"].median()

    assert skimmed == pytest.approx(usual, rel=0.35)


def test_amount_outliers_are_many_times_the_usual() -> None:
    assert only("amount_outlier")["TX_AMOUNT"].median() > 250


def test_stolen_cards_come_in_bursts_of_hours() -> None:
    frauds = only("stolen_card").sort("CUSTOMER_ID", "TX_DATETIME")
    gap = frauds.select(pl.col("TX_DATETIME").diff().over("CUSTOMER_ID")).to_series().drop_nulls()

    assert gap.median() < timedelta(hours=1)


def test_card_testing_is_tiny_amounts_then_large_ones() -> None:
    frauds = only("card_testing")
    tiny, large = frauds.filter(pl.col("TX_AMOUNT") < 2.5), frauds.filter(pl.col("TX_AMOUNT") > 20)
    first = tiny.group_by("CUSTOMER_ID").agg(pl.col("TX_DATETIME").min().alias("tested"))
    spent = large.join(first, on="CUSTOMER_ID")

    assert tiny.height > 2 * large.height > 0
    assert (spent["TX_DATETIME"] > spent["tested"]).mean() > 0.95
    assert set(tiny["MERCHANT_CATEGORY"]) <= {"digital_goods", "gaming"}


def test_taken_over_accounts_spend_more_and_more() -> None:
    frauds = only("account_takeover", n_rows=60_000)
    spans = frauds.with_columns(
        rank=pl.col("TX_DATETIME").rank("ordinal").over("CUSTOMER_ID")
        / pl.len().over("CUSTOMER_ID")
    )
    early = spans.filter(pl.col("rank") <= 0.3)["TX_AMOUNT"].median()
    late = spans.filter(pl.col("rank") >= 0.7)["TX_AMOUNT"].median()

    assert late > 2 * early


@pytest.mark.parametrize("name", list(SCENARIOS))
def test_a_scenario_keeps_to_its_days(name: ScenarioName) -> None:
    frauds = only(name, n_rows=5_000, first_day=90, end_day=120)

    assert frauds.height == 250
    assert frauds["TX_DATETIME"].min() >= START + timedelta(days=90)
    assert frauds["TX_DATETIME"].max() < START + timedelta(days=120)


def test_rows_follow_weight_times_active_days() -> None:
    """Twice the weight for half the time is the same number of rows."""
    scenarios = [
        {"name": "amount_outlier", "weight": 1.0},
        {"name": "stolen_card", "weight": 2.0, "first_day": 50},
    ]
    frame = simulate_transactions(10_000, seed=1, days=100, fraud_rate=0.1, scenarios=scenarios)
    counts = dict(frame["TX_FRAUD_SCENARIO"].value_counts().iter_rows())

    assert counts == {0: 9_000, 1: 500, 3: 500}


def test_frauds_are_spread_over_a_small_stream_too() -> None:
    """No quarter of the days has less than half of its share of 250 frauds."""
    frame = simulate_transactions(50_000, seed=1, days=180)
    frauds = frame.filter(pl.col("TX_FRAUD") == 1)
    quarter = (frauds["TX_DATETIME"] - START).dt.total_days() // 45
    counts = dict(quarter.value_counts().iter_rows())

    assert sum(counts.values()) == 250
    assert min(counts[number] for number in range(4)) > 31


def test_a_scenario_that_ends_before_it_begins_has_no_span() -> None:
    assert ScenarioSettings(name="stolen_card", first_day=9, end_day=9).span(30) is None

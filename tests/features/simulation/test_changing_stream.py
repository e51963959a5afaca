"""A stream that changes: new frauds, new people and places, labels that come late."""

import hashlib
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from features.simulation.fraud_scenarios import SCENARIOS
from features.simulation.parameters import SimulationError
from features.simulation.transactions import (
    TransactionSimulation,
    simulate_transactions,
    usual_scenarios_and,
)
from features.simulation.turnover import Tenancies

START = datetime(2025, 1, 1, tzinfo=UTC)
UNCHANGING = {
    "c2d7d8f9616e37dcdb5e8e490489807eae5bb157b8abed3b07097f1e91472b01": {},
    "479e806f8fe8c76625c07d73969271d52e99532deeb25e586462f4a5afab8fcb": {
        "fraud_rate": 0.1,
        "unreported_rate": 0.2,
    },
    "212fba9830552990bd6797496493a6abfdfe04b51da7a73269e8f050060a9d1e": {
        "days": 365,
        "yearly_inflation": 0.1,
        "scenarios": [{"name": "stolen_card"}, {"name": "card_testing", "first_day": 180}],
    },
}


@pytest.mark.parametrize(("digest", "settings"), UNCHANGING.items())
def test_a_stream_that_nobody_asked_to_change_keeps_its_bytes(
    digest: str, settings: dict[str, object]
) -> None:
    rows = simulate_transactions(3_000, seed=5, **settings)

    assert hashlib.sha256(rows.write_csv().encode()).hexdigest() == digest


def test_the_new_scenario_is_none_of_the_usual_ones() -> None:
    codes = simulate_transactions(4_000, seed=1, fraud_rate=0.1)["TX_FRAUD_SCENARIO"]

    assert SCENARIOS["relayed_taps"].code not in codes
    assert codes.n_unique() == 6


def test_a_later_scenario_joins_the_usual_ones_on_its_day() -> None:
    scenarios = usual_scenarios_and({"relayed_taps": 60})
    rows = simulate_transactions(20_000, seed=1, days=100, fraud_rate=0.1, scenarios=scenarios)
    codes = rows.filter(TX_FRAUD=1).group_by("TX_FRAUD_SCENARIO").agg(pl.col("TX_DATETIME").min())
    first = dict(codes.iter_rows())

    assert sorted(first) == [1, 2, 3, 4, 5, 6]
    assert START + timedelta(days=60) <= first[6] < START + timedelta(days=61)
    assert max(moment for code, moment in first.items() if code != 6) < START + timedelta(days=9)


def test_a_usual_scenario_that_is_named_begins_later_and_occurs_once() -> None:
    chosen = usual_scenarios_and({"stolen_card": 9})

    assert sorted(each.name for each in chosen) == sorted(
        name for name, scenario in SCENARIOS.items() if scenario.is_usual
    )
    assert {each.name: each.first_day for each in chosen}["stolen_card"] == 9


def test_relayed_taps_are_modest_and_at_places_new_to_the_card_before_the_large_ones() -> None:
    rows = simulate_transactions(
        20_000, seed=21, fraud_rate=0.05, scenarios=[{"name": "relayed_taps"}]
    )
    frauds = rows.filter(TX_FRAUD=1).sort("CUSTOMER_ID", "TX_DATETIME")
    modest, large = frauds.filter(pl.col("TX_AMOUNT") < 49), frauds.filter(pl.col("TX_AMOUNT") > 49)
    first = modest.group_by("CUSTOMER_ID").agg(pl.col("TX_DATETIME").min().alias("first"))
    visited = frauds.group_by("CUSTOMER_ID").agg(
        (pl.col("TERMINAL_ID").n_unique() / pl.len()).alias("share")
    )
    spent = large.join(first, on="CUSTOMER_ID")

    assert set(frauds["ENTRY_MODE"]) == {"contactless"}
    assert modest["TX_AMOUNT"].min() >= 10
    assert modest.height > 2 * large.height > 0
    assert (spent["TX_DATETIME"] > spent["first"]).mean() > 0.95
    assert visited["share"].mean() > 0.8
    assert modest["TX_DATETIME"].dt.hour().is_between(8, 22).mean() > 0.9


def test_labels_come_in_the_days_that_were_asked_for() -> None:
    rows = simulate_transactions(20_000, seed=3, fraud_rate=0.1, report_days=(7, 30))
    delay = (rows["REPORTED_AT"] - rows["TX_DATETIME"]).drop_nulls().dt.total_seconds() / 86_400

    assert delay.len() == 2_000
    assert 7 <= delay.min() < 7.2
    assert 29.8 < delay.max() < 30
    assert delay.mean() == pytest.approx(18.5, abs=0.5)


def test_when_a_fraud_is_reported_changes_nothing_else() -> None:
    usual, late = (
        simulate_transactions(5_000, seed=3, fraud_rate=0.1, unreported_rate=0.2, report_days=days)
        for days in (None, (7, 30))
    )

    assert usual.drop("REPORTED_AT").equals(late.drop("REPORTED_AT"))
    assert not usual["REPORTED_AT"].equals(late["REPORTED_AT"])


def test_a_label_may_be_due_on_one_day() -> None:
    rows = simulate_transactions(1_000, seed=3, fraud_rate=0.1, report_days=(10, 10))

    assert (rows["REPORTED_AT"] - rows["TX_DATETIME"]).drop_nulls().unique().to_list() == [
        timedelta(days=10)
    ]


def test_half_of_the_customers_and_a_fifth_of_the_terminals_are_new_after_a_year() -> None:
    rows = simulate_transactions(
        150_000, seed=2, days=365, yearly_customer_turnover=0.5, yearly_terminal_turnover=0.2
    )
    first, last = rows.filter(pl.col("TX_DATETIME").dt.month() == 1), rows.tail(12_000)

    assert _new(first, last, "CUSTOMER_ID") == pytest.approx(0.5, abs=0.07)
    assert _new(first, last, "TERMINAL_ID") == pytest.approx(0.2, abs=0.07)


def _new(first: pl.DataFrame, last: pl.DataFrame, column: str) -> float:
    """Return the share of the last rows' ids that the world's first month did not have."""
    highest = max(TransactionSimulation(n_rows=150_000, seed=2, days=365).population_size)
    return float((last[column].unique() >= highest).mean())


def test_turnover_changes_ids_and_nothing_else() -> None:
    settings = {"seed": 2, "days": 365, "fraud_rate": 0.05}
    steady = simulate_transactions(20_000, **settings)
    moving = simulate_transactions(
        20_000, **settings, yearly_customer_turnover=1.0, yearly_terminal_turnover=1.0
    )
    ids = ["CUSTOMER_ID", "TERMINAL_ID"]

    assert steady.drop(ids).equals(moving.drop(ids))
    assert not steady[ids].equals(moving[ids])


def test_a_place_changes_hands_once_a_year_at_a_yearly_turnover_of_one() -> None:
    tenancies = Tenancies(yearly=1.0, phase=np.array([0.0, 0.5]))
    days = np.array([0, 182, 183, 364, 365, 548]) * 86_400
    one, other = (tenancies.ids(np.full(6, place), days) for place in (0, 1))

    assert one.tolist() == [0, 0, 0, 0, 2, 2]
    assert other.tolist() == [1, 1, 3, 3, 3, 5]


def test_what_was_before_the_start_goes_by_the_first_id() -> None:
    tenancies = Tenancies(yearly=12.0, phase=np.array([0.1]))

    assert tenancies.ids(np.array([0]), np.array([-90 * 86_400])).tolist() == [0]


def test_a_compromised_terminal_is_listed_under_each_id_that_it_had() -> None:
    world = TransactionSimulation(
        n_rows=60_000, seed=3, fraud_rate=0.02, yearly_terminal_turnover=6.0
    ).stream()
    skimmed = pl.concat(world.days()).filter(TX_FRAUD_SCENARIO=2)
    windows = world.compromised_terminals()
    steady = TransactionSimulation(n_rows=60_000, seed=3, fraud_rate=0.02).stream()

    assert set(skimmed["TERMINAL_ID"]) <= set(windows["TERMINAL_ID"])
    assert windows.height > steady.compromised_terminals().height


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"report_days": (30, 7)}, "The shortest time must not be above the longest"),
        ({"report_days": (-1, 7)}, "report_days.0 is not valid"),
        ({"report_days": (1,)}, "report_days.1 is not valid"),
        ({"yearly_customer_turnover": -0.1}, "Got yearly_customer_turnover=-0.1"),
        ({"yearly_terminal_turnover": 13}, "less than or equal to 12"),
    ],
)
def test_bad_settings_of_a_changing_stream_are_refused(
    settings: dict[str, object], message: str
) -> None:
    with pytest.raises(SimulationError, match=r"^[^\n]*$") as refused:
        simulate_transactions(1_000, seed=1, **settings)

    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("later", "message"),
    [({"heist": 3}, "Got name='heist'"), ({"relayed_taps": -1}, "Got first_day=-1")],
)
def test_a_later_scenario_must_exist_and_begin_within_the_stream(
    later: dict[str, int], message: str
) -> None:
    with pytest.raises(SimulationError) as refused:
        usual_scenarios_and(later)

    assert message in str(refused.value)

"""What happens when in the simulated year, and in which world."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from features.contract import read_contract
from flows.gate.rule import read_rule
from flows.year.plan import YearPlan
from flows.year.world import NEW_FRAUD_CODE, make_world


def test_the_year_serves_twelve_months_and_ends_when_its_last_label_is_in() -> None:
    plan = YearPlan()

    assert list(plan.months) == list(range(1, 13))
    assert plan.start == datetime(2024, 7, 1, tzinfo=UTC)
    assert plan.n_days == 184 + 365
    assert plan.begin(13) == datetime(2026, 1, 1, tzinfo=UTC)
    assert plan.labels_in == datetime(2026, 2, 1, tzinfo=UTC)


def test_a_leap_year_has_a_day_more() -> None:
    assert YearPlan(year=2024).n_days == 184 + 366
    assert YearPlan(year=2024).day_of(7) == 184 + 182


def test_the_oracle_takes_the_rows_of_a_retraining_and_those_that_the_first_champion_had() -> None:
    plan = YearPlan()

    assert plan.window(4) == (plan.begin(1), plan.begin(4))
    assert plan.window(12) == (plan.begin(5), plan.begin(12))
    assert plan.window(10, flipped=True) == (plan.begin(7), plan.begin(10))
    assert plan.oracle_window(12) == plan.window(12)
    assert plan.oracle_window(1) == (datetime(2024, 9, 1, tzinfo=UTC), plan.begin(1))


def test_rows_that_are_learnt_from_have_a_past() -> None:
    """Labels of 30 days, known 30 days late: a share of frauds looks back 60 days."""
    plan = YearPlan()

    assert plan.past_of(plan.begin(5)) == plan.begin(3)
    assert plan.past_of(plan.begin(1)) == datetime(2024, 11, 1, tzinfo=UTC)
    assert plan.past_of(plan.begin(plan.taught_from)) == plan.start
    with pytest.raises(ValidationError):
        YearPlan(past_months=1)


def test_analysts_have_time_for_three_of_a_hundred_rows() -> None:
    assert YearPlan(rows=549_000).alerts_per_day == 30
    assert YearPlan(rows=20_000).alerts_per_day == 1


@pytest.mark.parametrize("bad", [{"rows": 100}, {"seed": -1}, {"year": 0}, {"month": 3}])
def test_an_impossible_year_is_refused(bad: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        YearPlan(**bad)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory):
    return make_world(YearPlan(rows=20_000), tmp_path_factory.mktemp("world"))


def test_the_new_fraud_is_there_from_its_month_on_and_labels_come_late(world) -> None:
    frauds = world.stream.filter(TX_FRAUD=1)
    delay = frauds["REPORTED_AT"] - frauds["TX_DATETIME"]
    new = frauds.filter(TX_FRAUD_SCENARIO=NEW_FRAUD_CODE)["TX_DATETIME"]

    assert len(new) > 0
    assert world.plan.begin(7) <= new.min()
    assert timedelta(days=7) <= delay.min()
    assert delay.max() <= timedelta(days=30) == world.contract.label.delay


def test_its_files_are_the_contract_and_the_rule_that_promotes_by_itself(world) -> None:
    assert read_contract(world.contract_file).data_hash() == world.contract.data_hash()
    assert json.loads(world.contract_file.read_text())["name"] == "simulated_stream"
    assert read_rule(world.gate_rule).on_pass == "promote"
    assert world.contract.policy.review.alerts_per_day == world.plan.alerts_per_day


def test_the_oracle_learns_from_nearly_all_of_its_rows_under_the_same_contract(world) -> None:
    """What no gate judges needs no rows to be judged on."""
    oracles = read_contract(world.oracle_contract_file)
    own = world.contract

    assert own.split.fractions[3] == pytest.approx(0.1)
    assert oracles.split.fractions[3] == pytest.approx(0.02)
    assert oracles.model_dump(exclude={"split"}) == own.model_dump(exclude={"split"})


def test_a_table_holds_the_rows_of_its_time_alone(world) -> None:
    since, until = world.plan.begin(2), world.plan.begin(3)
    moments = world.between(since, until)["TX_DATETIME"]

    assert since <= moments.min() < moments.max() < until
    assert world.table(since, until) == world.table(since, until)


def test_a_period_without_months_is_none() -> None:
    assert list(YearPlan().periods) == [
        "before the new fraud", "from the new fraud on", "the last three months",
    ]  # fmt: skip
    assert "before the new fraud" not in YearPlan(retrains_from=8).periods

"""Simulated loans: plausible books, a default that can be foreseen only in part."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_limits

from features.contract import read_contract
from features.simulation.loans import OUTCOME_DELAY, SCHEMA, simulate_loans
from features.simulation.parameters import SimulationError


@pytest.fixture(scope="module")
def loans() -> pl.DataFrame:
    return simulate_loans(40_000, seed=1)


def test_loans_have_the_asked_rows_and_columns(loans: pl.DataFrame) -> None:
    assert loans.schema == SCHEMA
    assert loans["APPLICATION_ID"].to_list() == list(range(40_000))


def test_applications_are_in_time_order_in_office_hours(loans: pl.DataFrame) -> None:
    hours = loans["APPLIED_AT"].dt.hour()

    assert loans["APPLIED_AT"].is_sorted()
    assert loans["APPLIED_AT"][0] >= datetime(2016, 1, 1, tzinfo=UTC)
    assert hours.is_between(8, 19).all()


def test_the_default_rate_is_near_the_asked_one(loans: pl.DataFrame) -> None:
    assert loans["IS_DEFAULT"].mean() == pytest.approx(0.12, abs=0.006)
    assert simulate_loans(20_000, seed=1, default_rate=0.3)["IS_DEFAULT"].mean() == pytest.approx(
        0.3, abs=0.012
    )


def test_outcomes_are_known_a_year_later(loans: pl.DataFrame) -> None:
    assert timedelta(days=365) == OUTCOME_DELAY
    assert (loans["OUTCOME_AT"] - loans["APPLIED_AT"] == OUTCOME_DELAY).all()


def test_worse_grades_cost_more_and_default_more(loans: pl.DataFrame) -> None:
    by_grade = (
        loans.group_by("GRADE")
        .agg(pl.col("IS_DEFAULT").mean(), pl.col("INTEREST_RATE").mean())
        .sort("GRADE")
    )

    assert by_grade["IS_DEFAULT"].is_sorted()
    assert by_grade["INTEREST_RATE"].is_sorted()


def test_nulls_stand_where_a_lender_would_not_know(loans: pl.DataFrame) -> None:
    nulls = {name: n / loans.height for name, n in loans.null_count().row(0, named=True).items()}
    late = loans.filter(pl.col("DELINQUENCIES_2Y") > 0)["MONTHS_SINCE_DELINQUENCY"]

    assert {name for name, share in nulls.items() if share} == {
        "EMPLOYMENT_YEARS", "DEBT_TO_INCOME", "REVOLVING_UTILIZATION", "MONTHS_SINCE_DELINQUENCY",
    }  # fmt: skip
    assert nulls["MONTHS_SINCE_DELINQUENCY"] > 0.5
    assert late.null_count() == 0
    assert late.max() < 24


def test_installments_pay_back_the_loan(loans: pl.DataFrame) -> None:
    """The payments' present value at the monthly rate is the amount, to a cent a month."""
    monthly = loans["INTEREST_RATE"] / 1200
    present = loans["INSTALLMENT"] * (1 - (1 + monthly) ** -loans["TERM_MONTHS"]) / monthly

    assert ((present - loans["LOAN_AMOUNT"]).abs() < 1).all()


def test_groups_differ_only_a_little(loans: pl.DataFrame) -> None:
    rate = loans["IS_DEFAULT"].mean()
    by_sex = loans.group_by("SEX").agg(pl.col("IS_DEFAULT").mean())["IS_DEFAULT"]
    by_age = loans.group_by("AGE_BAND").agg(pl.col("IS_DEFAULT").mean())["IS_DEFAULT"]

    assert (by_sex / rate).is_between(0.85, 1.15).all()
    assert (by_age / rate).is_between(0.5, 1.6).all()


def test_a_good_model_ranks_as_on_real_loans(loans: pl.DataFrame) -> None:
    contract = read_contract("simulated_loans").resolve(loans.columns)
    columns = [*contract.numeric_columns, *contract.categorical_features]
    codes = [pl.col(name).cast(pl.Enum(loans[name].unique().sort())).to_physical()
             for name in contract.categorical_features]  # fmt: skip
    inputs = loans.select(columns).with_columns(codes).to_numpy().astype(np.float64)
    label = loans["IS_DEFAULT"].to_numpy()
    model = HistGradientBoostingClassifier(max_iter=60, random_state=0)
    with threadpool_limits(1):
        model.fit(inputs[:28_000], label[:28_000])
        roc_auc = roc_auc_score(label[28_000:], model.predict_proba(inputs[28_000:])[:, 1])

    assert 0.70 < roc_auc < 0.78


def test_same_seed_same_frame_and_other_seed_other_frame() -> None:
    first = simulate_loans(500, seed=5)

    assert first.equals(simulate_loans(500, seed=5))
    assert not first.equals(simulate_loans(500, seed=6))


@pytest.mark.parametrize("n_rows", [1, 2, 10])
def test_tiny_tables_are_exact_too(n_rows: int) -> None:
    assert simulate_loans(n_rows, seed=1).height == n_rows


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_rows": 0}, "n_rows is not valid: Input should be greater than or equal to 1"),
        ({"seed": -1}, "seed is not valid"),
        ({"days": 0}, "days is not valid"),
        ({"default_rate": 0.0}, "greater than 0. Got default_rate=0.0"),
        ({"default_rate": 0.7}, "less than or equal to 0.5. Got default_rate=0.7"),
        ({"default": 0.1}, "Unknown simulation setting default. Known settings: n_rows, seed"),
    ],
)
def test_bad_settings_are_refused_in_one_line(settings: dict[str, object], message: str) -> None:
    with pytest.raises(SimulationError) as refused:
        simulate_loans(**{"n_rows": 100, "seed": 1, **settings})

    assert message in str(refused.value)
    assert "\n" not in str(refused.value)

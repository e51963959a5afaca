"""Who applies for a loan: people, their income, and what the credit bureau knows of them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.simulation.terminals import CodeArray, FloatArray

REGIONS = ("north", "east", "south", "west", "capital", "islands")
_REGION_SHARE = (0.22, 0.18, 0.20, 0.17, 0.18, 0.05)
_REGION_LOG_INCOME = np.array([-0.05, -0.1, -0.08, 0.05, 0.2, -0.12])
HOME_OWNERSHIP = ("rent", "mortgage", "own")
SEXES = ("female", "male")
AGE_BANDS = ("18-24", "25-34", "35-44", "45-54", "55-64", "65+")
_AGE_BAND_STARTS = np.array([25, 35, 45, 55, 65])

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Applicants:
    """One element per applicant. Nullable columns use NaN for "not known" or "never".

    Attributes:
        is_male: Sex on record.
        age: Years.
        region: Index into :data:`REGIONS`.
        home: Index into :data:`HOME_OWNERSHIP`.
        income: Yearly, in major currency units, as stated.
        employment_years: In the present job; NaN where not stated or without a job.
        credit_history_years: Since the first credit line.
        open_accounts: Open credit lines.
        delinquencies_2y: Payments over 30 days late in two years.
        months_since_delinquency: NaN where there never was one.
        inquiries_6m: Enquiries by lenders in six months.
        revolving_balance: Owed on cards, major currency units.
        revolving_utilization: Share of the card limits in use; NaN without a card.
        debt_to_income: Monthly debt payments over monthly income, per cent; NaN where no income
            was verified.
        strain: What makes repayment hard and shows in no column, standard normal.
    """

    is_male: BoolArray
    age: FloatArray
    region: CodeArray
    home: CodeArray
    income: FloatArray
    employment_years: FloatArray
    credit_history_years: FloatArray
    open_accounts: NDArray[np.int64]
    delinquencies_2y: NDArray[np.int64]
    months_since_delinquency: FloatArray
    inquiries_6m: NDArray[np.int64]
    revolving_balance: FloatArray
    revolving_utilization: FloatArray
    debt_to_income: FloatArray
    strain: FloatArray


def draw_applicants(rng: np.random.Generator, n: int) -> Applicants:
    """Return ``n`` applicants whose columns hang together as in a lender's books.

    Sex and age move income and the length of a credit history a little, and nothing else: the
    default rate of a group differs through these alone.
    """
    is_male = rng.random(n) < 0.54
    age = np.clip(18 + rng.gamma(4.0, 6.0, size=n), 18, 88).round()
    region = rng.choice(len(REGIONS), size=n, p=_REGION_SHARE).astype(np.int8)
    income = _incomes(rng, is_male, age, region)
    prudence, strain = rng.standard_normal(n), rng.standard_normal(n)
    history = np.clip((age - 18) * rng.beta(3.0, 2.0, size=n), 0.2, None).round(1)
    accounts = 1 + rng.poisson(np.exp(1.9 + 0.15 * np.log(history + 1)))
    late = rng.poisson(np.exp(-1.6 - 0.55 * prudence + 0.3 * strain))
    use = 1 / (1 + np.exp(0.5 + 0.75 * prudence - 0.35 * strain + 0.7 * rng.standard_normal(n)))
    limit = income * rng.lognormal(-1.2, 0.5, size=n)
    return Applicants(
        is_male=is_male,
        age=age,
        region=region,
        home=_homes(rng, age, income),
        income=income,
        employment_years=_employment(rng, age),
        credit_history_years=history,
        open_accounts=accounts,
        delinquencies_2y=late,
        months_since_delinquency=_months_since(rng, late, prudence),
        inquiries_6m=rng.poisson(np.exp(-0.5 - 0.25 * prudence + 0.25 * strain)),
        revolving_balance=(use * limit).round(),
        revolving_utilization=_known(rng, (use * 100).round(1), missing=0.04),
        debt_to_income=_debt_to_income(rng, income, prudence),
        strain=strain,
    )


def age_band(age: FloatArray) -> NDArray[np.intp]:
    """Return the index into :data:`AGE_BANDS` of each age in years.

    Example:
        >>> age_band(np.array([18.0, 25.0, 64.0, 65.0]))
        array([0, 1, 4, 5])
    """
    return np.searchsorted(_AGE_BAND_STARTS, age, side="right")


def _incomes(
    rng: np.random.Generator, is_male: BoolArray, age: FloatArray, region: CodeArray
) -> FloatArray:
    log_income = 10.45 + 0.09 * is_male + 0.30 * np.minimum(age - 18, 30) / 30
    log_income += _REGION_LOG_INCOME[region] + 0.45 * rng.standard_normal(len(age))
    return np.clip(np.exp(log_income), 6_000, 900_000).round(-2)


def _homes(rng: np.random.Generator, age: FloatArray, income: FloatArray) -> CodeArray:
    wealth = (age - 40) / 15 + np.log(income / 40_000) + rng.logistic(size=len(age))
    return np.where(wealth > 2.2, 2, np.where(wealth > 0.2, 1, 0)).astype(np.int8)


def _employment(rng: np.random.Generator, age: FloatArray) -> FloatArray:
    years = np.minimum(rng.exponential(6.0, size=len(age)), age - 18).round(1)
    return _known(rng, years, missing=0.06)


def _months_since(
    rng: np.random.Generator, late: NDArray[np.int64], prudence: FloatArray
) -> FloatArray:
    """Return the months since the last delinquency; within two years where there was one."""
    ever = (late > 0) | (rng.random(len(late)) < 0.3 / (1 + np.exp(prudence)))
    recent = rng.integers(0, 24, size=len(late)) / np.maximum(late, 1)
    older = rng.integers(24, 120, size=len(late))
    return np.where(ever, np.where(late > 0, recent, older).round(), np.nan)


def _debt_to_income(
    rng: np.random.Generator, income: FloatArray, prudence: FloatArray
) -> FloatArray:
    percent = 17 * np.exp(
        0.45 * rng.standard_normal(len(income)) - 0.15 * prudence - 0.2 * np.log(income / 40_000)
    )
    return _known(rng, np.clip(percent, 0, 80).round(2), missing=0.02)


def _known(rng: np.random.Generator, values: FloatArray, *, missing: float) -> FloatArray:
    """Return the values with a share of them lost at random."""
    return np.where(rng.random(len(values)) < missing, np.nan, values)

"""Loan applications and what became of them, the same for the same seed.

An applicant's risk is a logistic function of what the bureau knows, of a strain that no column
shows, and of the loan itself. The lender grades by its own noisy reading of the same data, so
the grade and the interest rate carry signal without telling everything. The best possible model
reaches a ROC-AUC of about 0.75, as on real loans.
"""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from features.simulation.applicants import (
    AGE_BANDS,
    HOME_OWNERSHIP,
    REGIONS,
    SEXES,
    Applicants,
    age_band,
    draw_applicants,
)
from features.simulation.parameters import RowCount, Seed, SimulationParameters
from features.simulation.terminals import FloatArray
from features.simulation.writing import write_rows

PURPOSES = ("debt_consolidation", "car", "home_improvement", "medical", "small_business", "other")
_PURPOSE_SHARE = (0.46, 0.13, 0.14, 0.06, 0.07, 0.14)
_PURPOSE_RISK = np.array([0.05, -0.3, -0.15, 0.25, 0.6, 0.05])
GRADES = ("A", "B", "C", "D", "E", "F", "G")
_GRADE_SHARE = (0.17, 0.27, 0.26, 0.16, 0.08, 0.04, 0.02)
_GRADE_RATE = np.array([6.5, 9.5, 12.5, 16.0, 19.5, 23.0, 26.0])
_RATE_SPREAD = 0.8
_RISK_WEIGHT = 0.78

OUTCOME_DELAY: Final = timedelta(days=365)
"""When it is known whether a loan went bad."""

_UTC_TIME: Final = pl.Datetime("us", "UTC")
SCHEMA: Final = pl.Schema(
    {
        "APPLICATION_ID": pl.Int64(),
        "APPLIED_AT": _UTC_TIME,
        "LOAN_AMOUNT": pl.Float64(),
        "TERM_MONTHS": pl.Int64(),
        "PURPOSE": pl.String(),
        "REGION": pl.String(),
        "HOME_OWNERSHIP": pl.String(),
        "ANNUAL_INCOME": pl.Float64(),
        "EMPLOYMENT_YEARS": pl.Float64(),
        "DEBT_TO_INCOME": pl.Float64(),
        "CREDIT_HISTORY_YEARS": pl.Float64(),
        "OPEN_ACCOUNTS": pl.Int64(),
        "REVOLVING_BALANCE": pl.Float64(),
        "REVOLVING_UTILIZATION": pl.Float64(),
        "INQUIRIES_6M": pl.Int64(),
        "DELINQUENCIES_2Y": pl.Int64(),
        "MONTHS_SINCE_DELINQUENCY": pl.Int64(),
        "GRADE": pl.String(),
        "INTEREST_RATE": pl.Float64(),
        "INSTALLMENT": pl.Float64(),
        "SEX": pl.String(),
        "AGE_BAND": pl.String(),
        "IS_DEFAULT": pl.Int8(),
        "OUTCOME_AT": _UTC_TIME,
    }
)
"""Columns of simulated loans. ``SEX`` and ``AGE_BAND`` are for measuring fairness only."""

_PEOPLE, _LOANS = range(2)


class LoanSimulation(SimulationParameters):
    """Parameters of simulated loan applications; equal parameters give equal bytes.

    Attributes:
        n_rows: Exact number of applications.
        seed: Seed of everything random.
        start: First day, from midnight UTC.
        days: Length in days; applications arrive in office hours, more of them every year.
        default_rate: Expected share that goes bad.
    """

    n_rows: RowCount
    seed: Seed
    start: date = date(2016, 1, 1)
    days: Annotated[int, Field(ge=1, le=36_500)] = 2_922
    default_rate: Annotated[float, Field(gt=0, le=0.5)] = 0.12


def simulate_loans(n_rows: int, *, seed: int, **settings: Any) -> pl.DataFrame:
    """Return exactly ``n_rows`` loan applications in order of time, with their outcomes.

    Args:
        n_rows: Number of rows, at least 1.
        seed: Same seed and settings, same frame.
        settings: Further fields of :class:`LoanSimulation`, such as ``default_rate``.

    Shape:
        ``n_rows`` rows with the columns of :data:`SCHEMA`: amounts in EUR, rates and ratios in
        per cent, ``OUTCOME_AT`` 365 days after ``APPLIED_AT``.

    Raises:
        SimulationError: If a setting is unknown or out of range.

    Example:
        >>> frame = simulate_loans(1_000, seed=7)
        >>> frame.height, frame["IS_DEFAULT"].dtype
        (1000, Int8)
    """
    loans = LoanSimulation.checked({"n_rows": n_rows, "seed": seed, **settings})
    people = draw_applicants(np.random.default_rng([loans.seed, _PEOPLE]), loans.n_rows)
    return _applications(np.random.default_rng([loans.seed, _LOANS]), loans, people)


def simulate_loans_to(path: Path | str, n_rows: int, *, seed: int, **settings: Any) -> Path:
    """Write the rows of :func:`simulate_loans` to a file in the format of its ending.

    Raises:
        SimulationError: If a setting is unknown or out of range, or the file's ending unknown.
    """
    return write_rows(simulate_loans(n_rows, seed=seed, **settings).lazy(), Path(path))


def _applications(
    rng: np.random.Generator, loans: LoanSimulation, people: Applicants
) -> pl.DataFrame:
    n = loans.n_rows
    purpose = rng.choice(len(PURPOSES), size=n, p=_PURPOSE_SHARE)
    share_of_income = np.clip(rng.lognormal(-1.2, 0.6, size=n), 0.02, 1.2)
    amount = np.clip(people.income * share_of_income, 1_000, 50_000).round(-2)
    term = np.where(rng.random(n) < 0.15 + 0.4 * (amount > 15_000), 60, 36)
    risk = _risk(people, amount=amount, term=term, purpose=purpose)
    grade = _grades(risk + 0.7 * risk.std() * rng.standard_normal(n))
    rate = (_GRADE_RATE[grade] + rng.uniform(-_RATE_SPREAD, _RATE_SPREAD, size=n)).round(2)
    log_odds = _RISK_WEIGHT * risk + 0.012 * (rate - 12) + 0.25 * people.strain
    applied = _application_seconds(rng, loans)
    columns = {
        "APPLICATION_ID": np.arange(n),
        "APPLIED_AT": _times(loans.start, applied),
        "LOAN_AMOUNT": amount,
        "TERM_MONTHS": term,
        "PURPOSE": _names(PURPOSES, purpose),
        "REGION": _names(REGIONS, people.region),
        "HOME_OWNERSHIP": _names(HOME_OWNERSHIP, people.home),
        "ANNUAL_INCOME": people.income,
        "EMPLOYMENT_YEARS": _nullable(people.employment_years),
        "DEBT_TO_INCOME": _nullable(people.debt_to_income),
        "CREDIT_HISTORY_YEARS": people.credit_history_years,
        "OPEN_ACCOUNTS": people.open_accounts,
        "REVOLVING_BALANCE": people.revolving_balance,
        "REVOLVING_UTILIZATION": _nullable(people.revolving_utilization),
        "INQUIRIES_6M": people.inquiries_6m,
        "DELINQUENCIES_2Y": people.delinquencies_2y,
        "MONTHS_SINCE_DELINQUENCY": _nullable(people.months_since_delinquency).cast(pl.Int64),
        "GRADE": _names(GRADES, grade),
        "INTEREST_RATE": rate,
        "INSTALLMENT": _installments(amount, rate, term),
        "SEX": _names(SEXES, people.is_male),
        "AGE_BAND": _names(AGE_BANDS, age_band(people.age)),
        "IS_DEFAULT": _outcomes(rng, log_odds, loans.default_rate),
        "OUTCOME_AT": _times(loans.start, applied + int(OUTCOME_DELAY.total_seconds())),
    }
    return pl.DataFrame(columns, schema=SCHEMA)


def _risk(
    people: Applicants,
    *,
    amount: FloatArray,
    term: NDArray[np.int64],
    purpose: NDArray[np.int64],
) -> FloatArray:
    """Return what columns show of the risk, centred; its standard deviation is about 1."""
    debt = np.nan_to_num(people.debt_to_income, nan=22.0) / 20
    use = np.nan_to_num(people.revolving_utilization, nan=45.0) / 100
    tenure = np.nan_to_num(people.employment_years, nan=0.0)
    burden = amount / people.income
    recent = np.exp(-np.nan_to_num(people.months_since_delinquency, nan=240.0) / 18)
    risk: FloatArray = (
        0.45 * debt
        + 1.3 * use
        + 0.9 * burden
        + 0.5 * np.sqrt(people.inquiries_6m)
        + 0.8 * recent
        + 0.2 * np.minimum(people.delinquencies_2y, 4)
        + 0.7 * (term == 60)
        + _PURPOSE_RISK[purpose]
        - 0.45 * np.log(people.income / 40_000)
        - 0.12 * np.sqrt(people.credit_history_years)
        - 0.15 * np.sqrt(tenure)
        - 0.25 * (people.home > 0)
        # A heavy loan on top of used-up cards is worse than the two apart.
        + 1.6 * (use > 0.6) * (burden > 0.4)
    )
    risk -= risk.mean()
    return risk


def _grades(reading: FloatArray) -> NDArray[np.intp]:
    """Return the grade of each reading: fixed shares from the best to the worst."""
    bounds = np.quantile(reading, np.cumsum(_GRADE_SHARE)[:-1])
    return np.searchsorted(bounds, reading, side="right")


def _outcomes(rng: np.random.Generator, log_odds: FloatArray, rate: float) -> NDArray[np.int8]:
    """Return 1 with the given odds, shifted so that ``rate`` of the rows are expected to be 1."""
    low, high = -30.0, 30.0
    for _ in range(50):
        middle = (low + high) / 2
        is_high = float(np.mean(_sigmoid(log_odds + middle))) > rate
        low, high = (low, middle) if is_high else (middle, high)
    return (rng.random(len(log_odds)) < _sigmoid(log_odds + low)).astype(np.int8)


def _sigmoid(x: FloatArray) -> FloatArray:
    probability: FloatArray = 1 / (1 + np.exp(-x))
    return probability


def _installments(amount: FloatArray, rate: FloatArray, term: NDArray[np.int64]) -> FloatArray:
    """Return the monthly payment of an annuity loan; ``rate`` is yearly, in per cent."""
    monthly = rate / 1200
    payment: FloatArray = (amount * monthly / (1 - (1 + monthly) ** -term)).round(2)
    return payment


def _application_seconds(rng: np.random.Generator, loans: LoanSimulation) -> NDArray[np.int64]:
    """Return ascending seconds since the start, between 08:00 and 20:00."""
    day = (loans.days * rng.random(loans.n_rows) ** 0.8).astype(np.int64)
    return np.sort(day * 86_400 + rng.integers(8 * 3600, 20 * 3600, size=loans.n_rows))


def _times(start: date, second: NDArray[np.int64]) -> pl.Series:
    origin = int(datetime(start.year, start.month, start.day, tzinfo=UTC).timestamp())
    return pl.Series((second + origin) * 1_000_000).cast(_UTC_TIME)


def _names(names: tuple[str, ...], code: NDArray[Any]) -> pl.Series:
    return pl.Series(names).gather(code.astype(np.uint32))


def _nullable(values: FloatArray) -> pl.Series:
    return pl.Series(values).fill_nan(None)

"""The transactions of a simulated world, one day at a time.

Each day is drawn from its own random generator, so memory stays bounded by one day. Fraud is
planned for the whole stream at once, because an episode may last for weeks; it is a small share
of the rows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, Self, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.simulation.customers import Population, build_customers
from features.simulation.fraud_plan import FraudPlan, ScenarioSettings, plan_fraud
from features.simulation.rhythm import SECONDS_PER_DAY, activity, time_table
from features.simulation.spending import ENTRY_MODES, Habits, Purchases, join
from features.simulation.terminals import (
    CATEGORIES,
    COUNTRIES,
    CodeArray,
    FloatArray,
    build_cities,
    build_terminals,
)
from features.simulation.turnover import Tenancies

_UTC_TIME: Final = pl.Datetime("us", "UTC")
SCHEMA: Final = pl.Schema(
    {
        "TRANSACTION_ID": pl.Int64(),
        "TX_DATETIME": _UTC_TIME,
        "CUSTOMER_ID": pl.Int64(),
        "TERMINAL_ID": pl.Int64(),
        "TX_AMOUNT": pl.Float64(),
        "MERCHANT_CATEGORY": pl.String(),
        "ENTRY_MODE": pl.String(),
        "CARD_COUNTRY": pl.String(),
        "MERCHANT_COUNTRY": pl.String(),
        "TX_FRAUD": pl.Int8(),
        "TX_FRAUD_SCENARIO": pl.Int8(),
        "REPORTED_AT": _UTC_TIME,
    }
)
"""Columns of a simulated stream. ``TX_FRAUD_SCENARIO`` is the answer key, never a feature."""

_POPULATION, _FRAUD, _CALENDAR, _DAY, _TURNOVER = range(5)
_CALENDAR_NOISE = 0.03
ScalarT = TypeVar("ScalarT", bound=np.generic)


@dataclass(frozen=True, slots=True)
class TransactionStream:
    """A simulated world. Build one with :meth:`TransactionSimulation.stream`.

    Attributes:
        seed: Seed from which every day's generator is derived.
        start: Midnight UTC of the first day.
        habits: The population and how it spends.
        fraud: Every fraudulent purchase.
        genuine_per_day: Genuine rows on each day, ``(n_days,)``.
        yearly_inflation: Relative growth of genuine amounts per year.
        customer_ids: Which id each customer of the population goes by, and when.
        terminal_ids: The same of the terminals.
    """

    seed: int
    start: datetime
    habits: Habits
    fraud: FraudPlan
    genuine_per_day: NDArray[np.int64]
    yearly_inflation: float
    customer_ids: Tenancies
    terminal_ids: Tenancies

    @classmethod
    def build(
        cls,
        *,
        seed: int,
        start: date,
        n_days: int,
        n_rows: int,
        n_fraud: int,
        n_customers: int,
        n_terminals: int,
        unreported_rate: float,
        yearly_inflation: float,
        yearly_customer_turnover: float,
        yearly_terminal_turnover: float,
        report_days: tuple[float, float] | None,
        scenarios: Sequence[ScenarioSettings],
    ) -> Self:
        """Return the world of these parameters; see :class:`TransactionSimulation`."""
        habits = _build_habits(seed, n_customers=n_customers, n_terminals=n_terminals)
        fraud = plan_fraud(
            np.random.default_rng([seed, _FRAUD]),
            habits,
            n_fraud=n_fraud,
            n_days=n_days,
            settings=scenarios,
            unreported_rate=unreported_rate,
            report_days=report_days,
            rows_per_terminal_day=n_rows / n_days / n_terminals,
        )
        calendar = np.random.default_rng([seed, _CALENDAR])
        shares = _day_shares(calendar, habits.population, start=start, n_days=n_days)
        movers = np.random.default_rng([seed, _TURNOVER])
        return cls(
            seed=seed,
            start=datetime.combine(start, time(), tzinfo=UTC),
            habits=habits,
            fraud=fraud,
            genuine_per_day=calendar.multinomial(n_rows - n_fraud, shares),
            yearly_inflation=yearly_inflation,
            customer_ids=Tenancies.drawn(movers, n_customers, yearly=yearly_customer_turnover),
            terminal_ids=Tenancies.drawn(movers, n_terminals, yearly=yearly_terminal_turnover),
        )

    def days(self) -> Iterator[pl.DataFrame]:
        """Yield the rows of each day in order; together they are the whole stream."""
        first_id = 0
        for day in range(len(self.genuine_per_day)):
            frame = self._day(day, first_id=first_id)
            first_id += frame.height
            yield frame

    def compromised_terminals(self) -> pl.DataFrame:
        """Return when which terminal was compromised.

        Shape:
            One row per terminal, or per id where it changed: ``TERMINAL_ID`` Int64, ``FIRST``
            and ``END`` in UTC. A terminal defrauds in ``[FIRST, END)``, which may begin before
            the stream or end after it.
        """
        terminal, first, end = self.fraud.compromised.T
        ids, window = self.terminal_ids.within(terminal, first, end)
        return pl.DataFrame(
            {
                "TERMINAL_ID": ids,
                "FIRST": self._times(first[window]),
                "END": self._times(end[window]),
            }
        )

    def _day(self, day: int, *, first_id: int) -> pl.DataFrame:
        rng = np.random.default_rng([self.seed, _DAY, day])
        weight = _activity_of(self.habits.population, self.start.date() + timedelta(days=day))
        visits = rng.multinomial(self.genuine_per_day[day], weight / weight.sum())
        customer = np.repeat(np.arange(len(visits)), visits)
        log_price = day / 365 * np.log1p(self.yearly_inflation)
        genuine = self.habits.purchases(rng, customer, day=day, log_price=log_price)
        bounds = np.searchsorted(
            self.fraud.purchases.second, [day * SECONDS_PER_DAY, (day + 1) * SECONDS_PER_DAY]
        )
        return self._frame(genuine, slice(*bounds.tolist()), first_id=first_id)

    def _frame(self, genuine: Purchases, planned: slice, *, first_id: int) -> pl.DataFrame:
        """Mix the genuine rows of a day with the planned frauds, in order of time."""
        rows = join([genuine, self.fraud.purchases.take(planned)])
        order = np.argsort(rows.second, kind="stable")
        rows = rows.take(order)
        is_reported = _after(genuine, self.fraud.is_reported[planned])[order]
        reported = _after(genuine, self.fraud.reported_second[planned])[order]
        scenario = _after(genuine, self.fraud.scenario[planned])[order]
        population = self.habits.population
        terminals, customers = population.terminals, population.customers
        columns = {
            "TRANSACTION_ID": np.arange(first_id, first_id + len(rows)),
            "TX_DATETIME": self._times(rows.second),
            "CUSTOMER_ID": self.customer_ids.ids(rows.customer, rows.second),
            "TERMINAL_ID": self.terminal_ids.ids(rows.terminal, rows.second),
            "TX_AMOUNT": rows.cents / 100,
            "MERCHANT_CATEGORY": _names(CATEGORIES, terminals.category[rows.terminal]),
            "ENTRY_MODE": _names(ENTRY_MODES, rows.entry_mode),
            "CARD_COUNTRY": _names(COUNTRIES, customers.country[rows.customer]),
            "MERCHANT_COUNTRY": _names(COUNTRIES, terminals.country[rows.terminal]),
            "TX_FRAUD": is_reported.astype(np.int8),
            "TX_FRAUD_SCENARIO": scenario,
            "REPORTED_AT": self._times(reported).zip_with(
                pl.Series(is_reported), pl.Series([None], dtype=_UTC_TIME)
            ),
        }
        return pl.DataFrame(columns, schema=SCHEMA)

    def _times(self, second: NDArray[np.int64]) -> pl.Series:
        origin = int(self.start.timestamp())
        return pl.Series((second + origin) * 1_000_000).cast(_UTC_TIME)


def _build_habits(seed: int, *, n_customers: int, n_terminals: int) -> Habits:
    rng = np.random.default_rng([seed, _POPULATION])
    cities = build_cities(rng, n_terminals)
    terminals = build_terminals(rng, cities, n_terminals)
    customers = build_customers(rng, cities, terminals, n_customers)
    population = Population(cities=cities, terminals=terminals, customers=customers)
    return Habits(population, times=time_table(), trip_key=int(rng.integers(2**63)))


def _activity_of(population: Population, day: date) -> FloatArray:
    customers = population.customers
    today: FloatArray = activity(day)[customers.profile, customers.payday]
    return customers.frequency * today


def _day_shares(
    rng: np.random.Generator, population: Population, *, start: date, n_days: int
) -> FloatArray:
    """Return each day's share of the genuine rows: what the people do, and a little noise."""
    days = [start + timedelta(days=day) for day in range(n_days)]
    total = np.array([_activity_of(population, day).sum() for day in days])
    total *= rng.lognormal(0.0, _CALENDAR_NOISE, size=n_days)
    shares: FloatArray = total / total.sum()
    return shares


def _after(genuine: Purchases, values: NDArray[ScalarT]) -> NDArray[ScalarT]:
    """Return zeros for the genuine rows, then the values of the frauds."""
    return np.concatenate([np.zeros(len(genuine), dtype=values.dtype), values])


def _names(names: tuple[str, ...], code: CodeArray) -> pl.Series:
    return pl.Series(names).gather(code.astype(np.uint32))

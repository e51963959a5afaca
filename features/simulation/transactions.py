"""A stream of card transactions with several kinds of fraud, the same for the same seed.

The parameters fix the world: with another ``n_rows`` or ``days`` other people live in it. A
shorter stream is therefore not a prefix of a longer one; take the head of the longer one.
"""

from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Self

import polars as pl
from polars.io.plugins import register_io_source
from pydantic import Field, field_validator, model_validator

from features.simulation.fraud_plan import ScenarioSettings
from features.simulation.fraud_scenarios import SCENARIOS
from features.simulation.parameters import (
    RowCount,
    Seed,
    SimulationParameters,
)
from features.simulation.stream import SCHEMA, TransactionStream
from features.simulation.writing import write_rows

_ROWS_PER_CUSTOMER_DAY = 1.2
_MIN_CUSTOMERS, _MIN_TERMINALS = 20, 100
_USUAL_SCENARIOS = tuple(
    ScenarioSettings(name=name) for name, scenario in SCENARIOS.items() if scenario.is_usual
)
_Turnover = Annotated[float, Field(ge=0, le=12)]
_Days = Annotated[float, Field(ge=0, le=3_650)]


def usual_scenarios_and(later: Mapping[str, int]) -> tuple[ScenarioSettings, ...]:
    """Return the usual scenarios, and others that appear on a day of the simulation.

    Args:
        later: Names of scenarios and their first days, from 0. A usual one that is named here
            begins on that day.

    Raises:
        SimulationError: If a name is no scenario's, or a day is negative.
    """
    always = tuple(each for each in _USUAL_SCENARIOS if each.name not in later)
    return always + tuple(
        ScenarioSettings.checked({"name": name, "first_day": day}) for name, day in later.items()
    )


class TransactionSimulation(SimulationParameters):
    """Parameters of a simulated card stream; equal parameters give equal bytes.

    Attributes:
        n_rows: Exact number of rows.
        seed: Seed of everything random.
        start: First day, from midnight UTC.
        days: Length in days. Rows spread over all of them.
        fraud_rate: Share of the rows that are fraudulent; ``round(n_rows * fraud_rate)`` are.
        unreported_rate: Share of the frauds that never come to light: ``TX_FRAUD`` is 0 there
            and only ``TX_FRAUD_SCENARIO`` tells.
        n_customers: People; the default makes 1.2 rows per person and day.
        n_terminals: Terminals; the default is as many as people, at least 100.
        yearly_inflation: Relative growth of genuine amounts per year of the simulation.
        yearly_customer_turnover: Share of the customers who leave in a year, each replaced by one
            with a new id and the same habits; 0.5 means that a customer stays for two years.
        yearly_terminal_turnover: The same of the terminals.
        report_days: Shortest and longest time until a fraud is reported, in days; the default is
            a few days, by scenario. It changes ``REPORTED_AT`` alone.
        scenarios: Which frauds occur, how much of each, and from which day to which.
    """

    n_rows: RowCount
    seed: Seed
    start: date = date(2025, 1, 1)
    days: Annotated[int, Field(ge=1, le=36_500)] = 183
    fraud_rate: Annotated[float, Field(ge=0, le=0.5)] = 0.005
    unreported_rate: Annotated[float, Field(ge=0, lt=1)] = 0.0
    n_customers: Annotated[int, Field(ge=1, le=100_000_000)] | None = None
    n_terminals: Annotated[int, Field(ge=2, le=100_000_000)] | None = None
    yearly_inflation: Annotated[float, Field(gt=-1, le=10)] = 0.0
    yearly_customer_turnover: _Turnover = 0.0
    yearly_terminal_turnover: _Turnover = 0.0
    report_days: tuple[_Days, _Days] | None = None
    scenarios: tuple[ScenarioSettings, ...] = _USUAL_SCENARIOS

    @field_validator("report_days")
    @classmethod
    def _in_order(cls, days: tuple[float, float] | None) -> tuple[float, float] | None:
        if days is not None and days[0] > days[1]:
            raise ValueError("The shortest time must not be above the longest")
        return days

    @model_validator(mode="after")
    def _fraud_has_a_scenario(self) -> Self:
        active = sum(setting.expected_share(self.days) for setting in self.scenarios)
        if self.n_fraud > 0 and active == 0:
            raise ValueError(
                f"No scenario is active in the {self.days} days, so no fraud can be simulated: "
                "add one to scenarios, or set fraud_rate=0"
            )
        return self

    @property
    def n_fraud(self) -> int:
        """Number of fraudulent rows."""
        return round(self.n_rows * self.fraud_rate)

    @property
    def population_size(self) -> tuple[int, int]:
        """Number of customers and of terminals."""
        customers = self.n_customers or max(
            _MIN_CUSTOMERS, round(self.n_rows / self.days / _ROWS_PER_CUSTOMER_DAY)
        )
        return customers, self.n_terminals or max(_MIN_TERMINALS, customers)

    def stream(self) -> TransactionStream:
        """Return the stream that these parameters describe, ready to be read day by day."""
        n_customers, n_terminals = self.population_size
        return TransactionStream.build(
            seed=self.seed,
            start=self.start,
            n_days=self.days,
            n_rows=self.n_rows,
            n_fraud=self.n_fraud,
            n_customers=n_customers,
            n_terminals=n_terminals,
            unreported_rate=self.unreported_rate,
            yearly_inflation=self.yearly_inflation,
            yearly_customer_turnover=self.yearly_customer_turnover,
            yearly_terminal_turnover=self.yearly_terminal_turnover,
            report_days=self.report_days,
            scenarios=self.scenarios,
        )


def simulate_transactions(n_rows: int, *, seed: int, **settings: Any) -> pl.DataFrame:
    """Return exactly ``n_rows`` card transactions in order of time.

    Args:
        n_rows: Number of rows, at least 1.
        seed: Same seed and settings, same frame.
        settings: Further fields of :class:`TransactionSimulation`, such as ``start``, ``days``,
            ``fraud_rate``.

    Shape:
        ``n_rows`` rows with the columns of :data:`features.simulation.stream.SCHEMA`:
        ``TX_AMOUNT`` in EUR to the cent, times in UTC to the second, ``REPORTED_AT`` null where
        no fraud came to light.

    Raises:
        SimulationError: If a setting is unknown or out of range.

    Example:
        >>> frame = simulate_transactions(1_000, seed=7, fraud_rate=0.01)
        >>> frame.height, frame["TX_FRAUD"].sum()
        (1000, 10)
    """
    stream = _checked(n_rows, seed=seed, settings=settings).stream()
    return pl.concat(stream.days(), rechunk=True)


def simulate_transactions_to(path: Path | str, n_rows: int, *, seed: int, **settings: Any) -> Path:
    """Write the same rows as :func:`simulate_transactions` to a file, day by day.

    Memory holds the people, the plan of the frauds and a few days, whatever ``n_rows`` is. The
    file appears whole or not at all.

    Args:
        path: Ends in ``.parquet``, ``.csv``, ``.arrow``, ``.feather`` or ``.jsonl``.
        n_rows: Number of rows, at least 1.
        seed: Same seed and settings, same rows.
        settings: Further fields of :class:`TransactionSimulation`.

    Returns:
        The path.

    Raises:
        SimulationError: If a setting is unknown or out of range, or the file's ending unknown.
    """
    stream = _checked(n_rows, seed=seed, settings=settings).stream()
    return write_rows(_scan(stream), Path(path))


def _checked(n_rows: int, *, seed: int, settings: Mapping[str, Any]) -> TransactionSimulation:
    return TransactionSimulation.checked({"n_rows": n_rows, "seed": seed, **settings})


def _scan(stream: TransactionStream) -> pl.LazyFrame:
    """Return a lazy frame that makes its days when it is read."""

    def days(
        with_columns: list[str] | None,
        predicate: pl.Expr | None,
        n_rows: int | None,
        _batch_size: int | None,
    ) -> Iterator[pl.DataFrame]:
        for frame in stream.days():
            kept = frame if predicate is None else frame.filter(predicate)
            kept = kept if with_columns is None else kept.select(with_columns)
            yield kept if n_rows is None else kept.head(n_rows)
            n_rows = None if n_rows is None else n_rows - min(n_rows, kept.height)

    return register_io_source(days, schema=SCHEMA)

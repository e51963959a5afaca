"""Which fraudulent purchases happen, for a whole simulation at once."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from features.simulation.crime import Crime, Seconds, Span
from features.simulation.fraud_scenarios import SCENARIOS, Scenario, ScenarioName
from features.simulation.parameters import SimulationParameters
from features.simulation.rhythm import SECONDS_PER_DAY
from features.simulation.spending import Habits, Purchases, join
from features.simulation.terminals import CodeArray, FloatArray, IndexArray

_REPORT_LOG_STD = 0.7


class ScenarioSettings(SimulationParameters):
    """How much of one scenario there is, and when.

    Attributes:
        name: One of ``SCENARIOS``.
        weight: Fraudulent rows per active day, relative to the other scenarios; the default is
            the scenario's own share.
        first_day: Day of the simulation, from 0, on which the scenario appears.
        end_day: Day from which it no longer occurs; ``None`` means never.
    """

    name: ScenarioName
    weight: Annotated[float, Field(ge=0)] | None = None
    first_day: Annotated[int, Field(ge=0)] = 0
    end_day: Annotated[int, Field(ge=1)] | None = None

    def span(self, n_days: int) -> Span | None:
        """Return the seconds in which the scenario occurs in ``n_days``, if there are any."""
        end = n_days if self.end_day is None else min(self.end_day, n_days)
        if end <= self.first_day:
            return None
        return Span(self.first_day * SECONDS_PER_DAY, end * SECONDS_PER_DAY)

    def expected_share(self, n_days: int) -> float:
        """Return the relative number of this scenario's rows over ``n_days``."""
        span = self.span(n_days)
        weight = SCENARIOS[self.name].share if self.weight is None else self.weight
        return 0.0 if span is None else weight * (span.last - span.first)


@dataclass(frozen=True, slots=True)
class FraudPlan:
    """Every fraudulent purchase, in order of time.

    Attributes:
        purchases: The purchases.
        scenario: ``TX_FRAUD_SCENARIO`` of each, at least 1.
        reported_second: When each is reported, in seconds since the start, always after it.
        is_reported: False where the fraud never comes to light.
        compromised: ``(terminal, first second, end second)`` of every compromised terminal,
            ``(n_terminals, 3)``.
    """

    purchases: Purchases
    scenario: CodeArray
    reported_second: Seconds
    is_reported: NDArray[np.bool_]
    compromised: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.scenario)


def plan_fraud(
    rng: np.random.Generator,
    habits: Habits,
    *,
    n_fraud: int,
    n_days: int,
    settings: Sequence[ScenarioSettings],
    unreported_rate: float,
    report_days: tuple[float, float] | None,
    rows_per_terminal_day: float,
) -> FraudPlan:
    """Return exactly ``n_fraud`` fraudulent purchases within ``n_days``.

    Args:
        rng: Source of randomness; nothing else is random.
        habits: The population that is defrauded.
        n_fraud: Number of rows, shared out by the scenarios' weights and active days.
        n_days: Length of the simulation.
        settings: The scenarios. At least one is active if ``n_fraud`` is positive.
        unreported_rate: Probability that a fraud never comes to light.
        report_days: Shortest and longest time until a fraud is reported, in days, all between
            equally likely; None: each scenario has times of its own. The frauds are the same.
        rows_per_terminal_day: Mean traffic of a terminal, in rows.
    """
    parts: list[Purchases] = []
    codes: list[CodeArray] = []
    delays: list[FloatArray] = []
    windows = [np.empty((0, 3), dtype=np.int64)]
    clerk = rng.spawn(1)[0]  # a generator apart: when a fraud is reported changes no fraud
    shares = np.array([setting.expected_share(n_days) for setting in settings])
    for setting, n_rows in zip(settings, apportion(n_fraud, shares), strict=True):
        span = setting.span(n_days)
        if span is None or n_rows == 0:
            continue
        scenario = SCENARIOS[setting.name]
        crime = Crime.planned(rng, habits, span, rows_per_terminal_day)
        parts.append(_draw_rows(rng, crime, scenario, span, n_rows=n_rows))
        codes.append(np.full(n_rows, scenario.code, dtype=np.int8))
        delays.append(rng.lognormal(math.log(scenario.report_days), _REPORT_LOG_STD, size=n_rows))
        if setting.name == "compromised_terminal":
            windows.append(_windows_of(np.unique(parts[-1].terminal), crime))
    if not parts:
        return _no_fraud()
    return _in_time_order(
        join(parts),
        np.concatenate(codes),
        delay_days=(
            np.concatenate(delays)
            if report_days is None
            else clerk.uniform(*report_days, size=n_fraud)
        ),
        is_reported=rng.random(n_fraud) >= unreported_rate,
        compromised=np.concatenate(windows),
    )


def apportion(total: int, shares: FloatArray) -> list[int]:
    """Return whole numbers in proportion to ``shares`` that add up to ``total``.

    Example:
        >>> apportion(10, np.array([1.0, 1.0, 1.0]))
        [4, 3, 3]
    """
    if total == 0 or len(shares) == 0:
        return [0] * len(shares)
    exact = total * shares / shares.sum()
    whole = np.floor(exact).astype(np.int64)
    largest = np.argsort(whole - exact, kind="stable")[: total - int(whole.sum())]
    whole[largest] += 1
    return [int(rows) for rows in whole]


def _draw_rows(
    rng: np.random.Generator, crime: Crime, scenario: Scenario, span: Span, *, n_rows: int
) -> Purchases:
    """Draw episodes until enough of their rows lie in the span; the last one may be cut."""
    parts: list[Purchases] = []
    missing = n_rows
    while missing > 0:
        drawn = scenario.draw(rng, crime, span, 1 + missing // 4)
        parts.append(drawn.take((drawn.second >= span.first) & (drawn.second < span.last)))
        missing -= len(parts[-1])
    return join(parts).take(slice(n_rows))


def _windows_of(shop: IndexArray, crime: Crime) -> NDArray[np.int64]:
    return np.stack([shop, crime.window_first[shop], crime.window_last[shop]], axis=1)


def _in_time_order(
    purchases: Purchases,
    scenario: CodeArray,
    *,
    delay_days: FloatArray,
    is_reported: NDArray[np.bool_],
    compromised: NDArray[np.int64],
) -> FraudPlan:
    order = np.argsort(purchases.second, kind="stable")
    delay = np.maximum(delay_days * SECONDS_PER_DAY, 60).astype(np.int64)
    return FraudPlan(
        purchases=purchases.take(order),
        scenario=scenario[order],
        reported_second=(purchases.second + delay)[order],
        is_reported=is_reported,
        compromised=compromised,
    )


def _no_fraud() -> FraudPlan:
    whole, code = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int8)
    return FraudPlan(
        purchases=Purchases(whole, whole.astype(np.intp), whole.astype(np.intp), whole, code),
        scenario=code,
        reported_second=whole,
        is_reported=np.empty(0, dtype=np.bool_),
        compromised=np.empty((0, 3), dtype=np.int64),
    )

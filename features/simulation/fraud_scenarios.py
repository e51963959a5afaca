"""How cards are abused: each scenario draws episodes of fraudulent purchases.

The scenarios differ in what gives them away. An amount outlier shows in the row itself. A
stolen card and card testing show partly in the row and clearly in the card's last hours. A
taken-over account shows over weeks. At a compromised terminal nothing about the row is odd:
only that other cards used there turned out to be defrauded.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, Self

import numpy as np
from numpy.typing import NDArray

from features.simulation.rhythm import SECONDS_PER_DAY, draw_seconds
from features.simulation.spending import (
    CARD_ON_FILE,
    CHIP,
    CONTACTLESS,
    ECOMMERCE,
    MAGSTRIPE,
    Habits,
    Purchases,
    to_cents,
)
from features.simulation.terminals import CodeArray, FloatArray, IndexArray

ScenarioName = Literal[
    "amount_outlier", "compromised_terminal", "stolen_card", "card_testing", "account_takeover"
]
Seconds = NDArray[np.int64]
_HOUR = 3_600
_GOLDEN_RATIO = (5**0.5 - 1) / 2
_RESALE = ("electronics", "clothing", "jewellery", "fuel", "hotel")
_REMOTE_RESALE = ("online_retail", "gaming", "airline")
_TESTED_AT = ("digital_goods", "gaming")


@dataclass(frozen=True, slots=True)
class Span:
    """The seconds ``[first, last)`` of the simulation in which a scenario is at work."""

    first: int
    last: int

    def starts(self, rng: np.random.Generator, n: int, *, longest: int) -> Seconds:
        """Return starts of episodes, early enough that the span begins with some under way."""
        earliest = self.first - longest
        starts: Seconds = earliest + (_spread(rng, n) * (self.last - earliest)).astype(np.int64)
        return starts


@dataclass(frozen=True, slots=True)
class Crime:
    """What the scenarios share.

    Attributes:
        habits: How the population spends; fraud is drawn against it.
        shops: All shops in the order in which they are compromised, if that many are.
        window_first: First second at which each shop would be compromised, one per shop.
        window_last: Second at which that would end, one per shop.
        rows_per_terminal_day: Mean number of rows at a terminal in a day.
    """

    habits: Habits
    shops: IndexArray
    window_first: Seconds
    window_last: Seconds
    rows_per_terminal_day: float

    @classmethod
    def planned(
        cls, rng: np.random.Generator, habits: Habits, span: Span, rows_per_terminal_day: float
    ) -> Self:
        """Return the crime of one span, with a window of two to four weeks for every shop."""
        shops = rng.permutation(habits.population.terminals.n_shops)
        n_days = rng.integers(14, 29, size=len(shops))
        earliest = span.first // SECONDS_PER_DAY - n_days[shops]
        length = span.last // SECONDS_PER_DAY - earliest
        first_day = np.empty_like(n_days)
        first_day[shops] = (earliest + _spread(rng, len(shops)) * length).astype(np.int64)
        first, n_seconds = first_day * SECONDS_PER_DAY, n_days * SECONDS_PER_DAY
        return cls(habits, shops, first, first + n_seconds, rows_per_terminal_day)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One way of abusing cards.

    Attributes:
        code: Value of ``TX_FRAUD_SCENARIO``.
        share: Default share of the fraudulent rows.
        report_days: Median time until the fraud is reported, in days.
        draw: Returns the purchases of some episodes, episode by episode; rows outside the span
            are the caller's to leave out.
    """

    code: int
    share: float
    report_days: float
    draw: Callable[[np.random.Generator, Crime, Span, int], Purchases]


def _amount_outliers(
    rng: np.random.Generator, crime: Crime, span: Span, n_episodes: int
) -> Purchases:
    """One purchase, at an ordinary hour and place, of many times the usual amount."""
    customer = _customers(rng, crime, n_episodes)
    terminal = crime.habits.terminals(rng, customer, day=span.first // SECONDS_PER_DAY)
    factor = rng.normal(3.1, 0.5, size=n_episodes)
    cents = crime.habits.amounts(rng, customer, terminal, log_factor=factor)
    day = span.starts(rng, n_episodes, longest=0) // SECONDS_PER_DAY
    return Purchases(
        second=_at_usual_hours(rng, crime, customer, day),
        customer=customer,
        terminal=terminal,
        cents=cents,
        entry_mode=crime.habits.entry_modes(rng, terminal, cents),
    )


def _compromised_terminals(
    rng: np.random.Generator, crime: Crime, _span: Span, n_episodes: int
) -> Purchases:
    """Cloned cards are used where they were skimmed, for amounts that look ordinary."""
    order = rng.integers(len(crime.shops)) + np.arange(n_episodes)
    shop = crime.shops[order % len(crime.shops)]
    days = (crime.window_last - crime.window_first)[shop] // SECONDS_PER_DAY
    n_rows = 2 + rng.poisson(1.5 * crime.rows_per_terminal_day * days)
    terminal = np.repeat(shop, n_rows)
    customer = _neighbours(rng, crime, terminal)
    length = np.repeat(days, n_rows)
    day = crime.window_first[terminal] // SECONDS_PER_DAY + (rng.random(len(length)) * length)
    cents = crime.habits.amounts(rng, customer, terminal, log_factor=0.1)
    return Purchases(
        second=_at_usual_hours(rng, crime, customer, day.astype(np.int64)),
        customer=customer,
        terminal=terminal,
        cents=cents,
        entry_mode=crime.habits.entry_modes(rng, terminal, cents),
    )


def _stolen_cards(rng: np.random.Generator, crime: Crime, span: Span, n_episodes: int) -> Purchases:
    """A burst of larger amounts at places new to the card, at any hour, until it is blocked."""
    n_rows = 2 + rng.poisson(4.0, size=n_episodes)
    start = _dark_hours(rng, span.starts(rng, n_episodes, longest=6 * _HOUR))
    second = np.repeat(start, n_rows) + _steps(rng, n_rows, mean_seconds=0.6 * _HOUR)
    customer = np.repeat(_customers(rng, crime, n_episodes), n_rows)
    elsewhere = rng.random(len(customer)) < 0.75
    terminal = np.where(
        elsewhere,
        _terminals_of(rng, crime, len(customer), _RESALE),
        crime.habits.population.terminals.in_city(
            rng, crime.habits.population.customers.city[customer]
        ),
    )
    factor = rng.normal(1.0, 0.4, size=len(customer))
    modes = (CONTACTLESS, CHIP, MAGSTRIPE)
    return Purchases(
        second=second,
        customer=customer,
        terminal=terminal,
        cents=crime.habits.amounts(rng, customer, terminal, log_factor=factor),
        entry_mode=rng.choice(modes, size=len(customer), p=(0.55, 0.25, 0.2)).astype(np.int8),
    )


def _card_testing(rng: np.random.Generator, crime: Crime, span: Span, n_episodes: int) -> Purchases:
    """Many tiny payments online within minutes show that a card works; large ones follow."""
    n_tests, n_large = 4 + rng.poisson(4.0, size=n_episodes), rng.integers(1, 4, size=n_episodes)
    n_rows = n_tests + n_large
    start = span.starts(rng, n_episodes, longest=12 * _HOUR)
    pause = np.repeat(rng.integers(_HOUR, 10 * _HOUR, size=n_episodes), n_rows)
    is_large = _position(n_rows) >= np.repeat(n_tests, n_rows)
    second = np.repeat(start, n_rows) + _steps(rng, n_rows, mean_seconds=90.0) + is_large * pause
    customer = np.repeat(_customers(rng, crime, n_episodes), n_rows)
    tested_at = np.repeat(_terminals_of(rng, crime, n_episodes, _TESTED_AT), n_rows)
    spent_at = _terminals_of(rng, crime, len(customer), _REMOTE_RESALE)
    terminal = np.where(is_large, spent_at, tested_at)
    factor = rng.normal(1.3, 0.5, size=len(customer))
    large = crime.habits.amounts(rng, customer, terminal, log_factor=factor)
    tiny = to_cents(rng.lognormal(-0.6, 0.5, size=len(customer)))
    return Purchases(
        second=second,
        customer=customer,
        terminal=terminal,
        cents=np.where(is_large, large, tiny),
        entry_mode=np.full(len(customer), ECOMMERCE, dtype=np.int8),
    )


def _account_takeovers(
    rng: np.random.Generator, crime: Crime, span: Span, n_episodes: int
) -> Purchases:
    """Purchases through the customer's own account, larger and later at night by the week."""
    days = rng.integers(10, 36, size=n_episodes)
    n_rows = 4 + rng.poisson(0.4 * days)
    start = span.starts(rng, n_episodes, longest=35 * SECONDS_PER_DAY)
    progress = rng.random(int(n_rows.sum()))
    length = np.repeat(days, n_rows)
    customer = np.repeat(_customers(rng, crime, n_episodes), n_rows)
    day = np.repeat(start // SECONDS_PER_DAY, n_rows) + (progress * length).astype(np.int64)
    usual = _at_usual_hours(rng, crime, customer, day)
    at_night = day * SECONDS_PER_DAY + rng.integers(6 * _HOUR, size=len(day))
    terminal = _terminals_of(rng, crime, len(customer), _REMOTE_RESALE)
    mode = np.where(rng.random(len(customer)) < 0.75, CARD_ON_FILE, ECOMMERCE)
    return Purchases(
        second=np.where(rng.random(len(day)) < 0.7 * progress, at_night, usual),
        customer=customer,
        terminal=terminal,
        cents=crime.habits.amounts(rng, customer, terminal, log_factor=2.2 * progress),
        entry_mode=mode.astype(np.int8),
    )


SCENARIOS: Final[Mapping[ScenarioName, Scenario]] = {
    "amount_outlier": Scenario(1, 0.18, 3.0, _amount_outliers),
    "compromised_terminal": Scenario(2, 0.22, 6.0, _compromised_terminals),
    "stolen_card": Scenario(3, 0.25, 1.5, _stolen_cards),
    "card_testing": Scenario(4, 0.20, 2.5, _card_testing),
    "account_takeover": Scenario(5, 0.15, 5.0, _account_takeovers),
}
"""Every scenario by name. Code 0 is a genuine purchase."""


def _spread(rng: np.random.Generator, n: int) -> FloatArray:
    """Return numbers in [0, 1) in no visible order, any first few of them evenly spread.

    Multiples of the golden ratio from a random start. Independent draws would leave whole months
    of a small stream without fraud.
    """
    numbers: FloatArray = (rng.random() + np.arange(n, dtype=np.float64) * _GOLDEN_RATIO) % 1.0
    return numbers


def _customers(rng: np.random.Generator, crime: Crime, n: int) -> IndexArray:
    return rng.integers(len(crime.habits.population.customers), size=n)


def _neighbours(rng: np.random.Generator, crime: Crime, shop: IndexArray) -> IndexArray:
    """Return a customer of the shop's own city, or of anywhere if nobody lives there."""
    population = crime.habits.population
    city = np.searchsorted(population.terminals.city_start, shop, side="right") - 1
    first = population.customers.city_start[city]
    size = population.customers.city_start[city + 1] - first
    local = first + (rng.random(len(shop)) * size).astype(np.intp)
    return np.where(size > 0, local, _customers(rng, crime, len(shop)))


def _terminals_of(
    rng: np.random.Generator, crime: Crime, n: int, categories: tuple[str, ...]
) -> IndexArray:
    """Return terminals of the categories, or any at all in a world that has none of them."""
    terminals = crime.habits.population.terminals
    choices = terminals.of_categories(categories)
    if len(choices) == 0:
        return rng.integers(len(terminals), size=n)
    drawn: IndexArray = choices[rng.integers(len(choices), size=n)]
    return drawn


def _at_usual_hours(
    rng: np.random.Generator, crime: Crime, customer: IndexArray, day: Seconds
) -> Seconds:
    profile: CodeArray = crime.habits.population.customers.profile[customer]
    return day * SECONDS_PER_DAY + draw_seconds(rng, crime.habits.times, profile)


def _dark_hours(rng: np.random.Generator, start: Seconds) -> Seconds:
    """Move about half of the starts to between 21:00 and 05:00 of their day."""
    dark = (start // SECONDS_PER_DAY) * SECONDS_PER_DAY + rng.integers(
        21 * _HOUR, 29 * _HOUR, size=len(start)
    )
    return np.where(rng.random(len(start)) < 0.5, dark, start)


def _position(n_rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return 0, 1, 2, … within each episode.

    Example:
        >>> _position(np.array([2, 3]))
        array([0, 1, 0, 1, 2])
    """
    ends = np.cumsum(n_rows)
    return np.arange(int(ends[-1])) - np.repeat(ends - n_rows, n_rows)


def _steps(rng: np.random.Generator, n_rows: NDArray[np.int64], *, mean_seconds: float) -> Seconds:
    """Return the seconds since the start of each row's episode: sums of random gaps."""
    gaps: FloatArray = rng.exponential(mean_seconds, size=int(n_rows.sum()))
    total = np.cumsum(gaps)
    first = np.cumsum(n_rows) - n_rows
    seconds: Seconds = (total - np.repeat(total[first], n_rows)).astype(np.int64)
    return seconds

"""What every fraud scenario draws from: when it is at work, whom it strikes, and where."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from features.simulation.rhythm import SECONDS_PER_DAY, draw_seconds
from features.simulation.spending import Habits
from features.simulation.terminals import CodeArray, FloatArray, IndexArray

Seconds = NDArray[np.int64]
HOUR = 3_600
_GOLDEN_RATIO = (5**0.5 - 1) / 2


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

    def customers(self, rng: np.random.Generator, n: int) -> IndexArray:
        """Return whom ``n`` episodes strike: anybody."""
        return rng.integers(len(self.habits.population.customers), size=n)

    def neighbours(self, rng: np.random.Generator, shop: IndexArray) -> IndexArray:
        """Return a customer of the shop's own city, or of anywhere if nobody lives there."""
        population = self.habits.population
        city = np.searchsorted(population.terminals.city_start, shop, side="right") - 1
        first = population.customers.city_start[city]
        size = population.customers.city_start[city + 1] - first
        local = first + (rng.random(len(shop)) * size).astype(np.intp)
        return np.where(size > 0, local, self.customers(rng, len(shop)))

    def terminals_of(
        self, rng: np.random.Generator, n: int, categories: tuple[str, ...]
    ) -> IndexArray:
        """Return terminals of the categories, or any at all in a world that has none of them."""
        terminals = self.habits.population.terminals
        choices = terminals.of_categories(categories)
        if len(choices) == 0:
            return rng.integers(len(terminals), size=n)
        drawn: IndexArray = choices[rng.integers(len(choices), size=n)]
        return drawn

    def at_usual_hours(
        self, rng: np.random.Generator, customer: IndexArray, day: Seconds
    ) -> Seconds:
        """Return a second of each day at which that customer usually buys."""
        profile: CodeArray = self.habits.population.customers.profile[customer]
        return day * SECONDS_PER_DAY + draw_seconds(rng, self.habits.times, profile)


def _spread(rng: np.random.Generator, n: int) -> FloatArray:
    """Return numbers in [0, 1) in no visible order, any first few of them evenly spread.

    Multiples of the golden ratio from a random start. Independent draws would leave whole months
    of a small stream without fraud.
    """
    numbers: FloatArray = (rng.random() + np.arange(n, dtype=np.float64) * _GOLDEN_RATIO) % 1.0
    return numbers


def dark_hours(rng: np.random.Generator, start: Seconds) -> Seconds:
    """Move about half of the starts to between 21:00 and 05:00 of their day."""
    dark = (start // SECONDS_PER_DAY) * SECONDS_PER_DAY + rng.integers(
        21 * HOUR, 29 * HOUR, size=len(start)
    )
    return np.where(rng.random(len(start)) < 0.5, dark, start)


def position(n_rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return 0, 1, 2, … within each episode.

    Example:
        >>> position(np.array([2, 3]))
        array([0, 1, 0, 1, 2])
    """
    ends = np.cumsum(n_rows)
    return np.arange(int(ends[-1])) - np.repeat(ends - n_rows, n_rows)


def steps(rng: np.random.Generator, n_rows: NDArray[np.int64], *, mean_seconds: float) -> Seconds:
    """Return the seconds since the start of each row's episode: sums of random gaps."""
    gaps: FloatArray = rng.exponential(mean_seconds, size=int(n_rows.sum()))
    total = np.cumsum(gaps)
    first = np.cumsum(n_rows) - n_rows
    seconds: Seconds = (total - np.repeat(total[first], n_rows)).astype(np.int64)
    return seconds

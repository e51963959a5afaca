"""What an ordinary purchase looks like: where, how much, and how the card was read."""

from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from numpy.typing import NDArray

from features.simulation.customers import (
    N_FAVOURITE_ONLINE,
    N_FAVOURITE_SHOPS,
    Population,
)
from features.simulation.rhythm import SECONDS_PER_DAY, draw_seconds
from features.simulation.terminals import (
    CATEGORY_LOG_PRICE,
    CodeArray,
    FloatArray,
    IndexArray,
)

ENTRY_MODES = ("contactless", "chip", "magstripe", "ecommerce", "card_on_file")
CONTACTLESS, CHIP, MAGSTRIPE, ECOMMERCE, CARD_ON_FILE = range(5)

_CONTACTLESS_LIMIT_CENTS = 5_000
_MAX_AMOUNT_CENTS = 2_500_000
_EXPLORATION_SHARE = 0.05
_SPLURGE_SHARE = 0.012
_TRIP_SHARE = 0.03


@dataclass(frozen=True, slots=True)
class Purchases:
    """Columns of some purchases, one element per row, in no particular order.

    Attributes:
        second: Whole seconds since the start of the simulation.
        customer: Customer index.
        terminal: Terminal index.
        cents: Amount in minor currency units, at least 1.
        entry_mode: Index into :data:`ENTRY_MODES`.
    """

    second: NDArray[np.int64]
    customer: IndexArray
    terminal: IndexArray
    cents: NDArray[np.int64]
    entry_mode: CodeArray

    def __len__(self) -> int:
        return len(self.second)

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_] | slice) -> Self:
        """Return the chosen rows in the given order."""
        return type(self)(*(getattr(self, field.name)[rows] for field in fields(self)))


def join(parts: list[Purchases]) -> Purchases:
    """Return all rows of the parts, one part after the other."""
    names = [field.name for field in fields(Purchases)]
    return Purchases(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


@dataclass(frozen=True, slots=True)
class Habits:
    """How the people of a population spend on an ordinary day.

    Attributes:
        population: The people and the places.
        times: The table of :func:`features.simulation.rhythm.time_table`.
        trip_key: Seeds the choice of who travels in which week, whatever slice is made first.
    """

    population: Population
    times: FloatArray
    trip_key: int

    def purchases(
        self, rng: np.random.Generator, customer: IndexArray, *, day: int, log_price: float
    ) -> Purchases:
        """Return one ordinary purchase on one day for each entry of ``customer``."""
        profile = self.population.customers.profile[customer]
        terminal = self.terminals(rng, customer, day=day)
        cents = self.amounts(rng, customer, terminal, log_factor=log_price)
        return Purchases(
            second=day * SECONDS_PER_DAY + draw_seconds(rng, self.times, profile),
            customer=customer,
            terminal=terminal,
            cents=cents,
            entry_mode=self.entry_modes(rng, terminal, cents),
        )

    def terminals(self, rng: np.random.Generator, customer: IndexArray, *, day: int) -> IndexArray:
        """Return where each customer goes: nearby favourites, sometimes elsewhere, or online."""
        customers, terminals = self.population.customers, self.population.terminals
        shop = _favourite(rng, N_FAVOURITE_SHOPS, len(customer))
        chosen = customers.favourite_shops[customer, shop]
        city = self._whereabouts(customer, day=day)
        away = city != customers.city[customer]
        away |= rng.random(len(customer)) < _EXPLORATION_SHARE
        chosen[away] = terminals.in_city(rng, city[away])
        online = np.flatnonzero(rng.random(len(customer)) < customers.online_share[customer])
        merchant = _favourite(rng, N_FAVOURITE_ONLINE, len(online))
        chosen[online] = customers.favourite_online[customer[online], merchant]
        return chosen

    def amounts(
        self,
        rng: np.random.Generator,
        customer: IndexArray,
        terminal: IndexArray,
        *,
        log_factor: float | FloatArray = 0.0,
    ) -> NDArray[np.int64]:
        """Return log-normal amounts in cents, around the customer's and the category's usual.

        Args:
            rng: Source of randomness.
            customer: Who pays.
            terminal: Where.
            log_factor: Added to the logarithm of the amount: 0.7 is about twice as much.
        """
        customers = self.population.customers
        category = self.population.terminals.category[terminal]
        mean = customers.log_amount_mean[customer] + CATEGORY_LOG_PRICE[category] + log_factor
        noise = rng.standard_normal(len(customer)) * customers.log_amount_std[customer]
        splurge = rng.random(len(customer)) < _SPLURGE_SHARE
        noise[splurge] += rng.normal(1.2, 0.5, size=int(splurge.sum()))
        return to_cents(np.exp(mean + noise))

    def entry_modes(
        self, rng: np.random.Generator, terminal: IndexArray, cents: NDArray[np.int64]
    ) -> CodeArray:
        """Return how each card was read: small amounts in shops mostly without contact."""
        luck = rng.random(len(terminal))
        online = terminal >= self.population.terminals.n_shops
        tap_share = np.where(cents <= _CONTACTLESS_LIMIT_CENTS, 0.8, 0.15)
        in_shop = np.where(luck < tap_share, CONTACTLESS, np.where(luck < 0.98, CHIP, MAGSTRIPE))
        remote = np.where(luck < 0.7, ECOMMERCE, CARD_ON_FILE)
        return np.where(online, remote, in_shop).astype(np.int8)

    def _whereabouts(self, customer: IndexArray, *, day: int) -> IndexArray:
        """Return the city in which each customer is; a few are away for the week."""
        week = day // 7
        home = self.population.customers.city[customer]
        word = _scramble(customer.astype(np.uint64) + np.uint64(week << 40), self.trip_key)
        travels = (word >> np.uint64(40)).astype(np.float64) < _TRIP_SHARE * 2**24
        goal = (word & np.uint64(0xFFFFFF)) % np.uint64(len(self.population.cities))
        return np.where(travels, goal.astype(np.intp), home)


def to_cents(amount: FloatArray) -> NDArray[np.int64]:
    """Return amounts in major units as whole cents, from 0.01 to 25,000.00."""
    return np.clip(np.rint(amount * 100), 1, _MAX_AMOUNT_CENTS).astype(np.int64)


def _favourite(rng: np.random.Generator, n_choices: int, n: int) -> IndexArray:
    """Return ranks from 0; the first is visited most."""
    return (n_choices * rng.random(n) ** 1.7).astype(np.intp)


def _scramble(word: NDArray[np.uint64], key: int) -> NDArray[np.uint64]:
    """Return evenly spread 64-bit words (the finalizer of splitmix64); overflow is intended."""
    word = (word + np.uint64(key)) * np.uint64(0x9E3779B97F4A7C15)
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))

"""Who spends: a home, a purse, habits of hour and weekday, and the shops nearby."""

from dataclasses import dataclass

import numpy as np

from features.simulation.rhythm import PAYDAYS, PROFILES
from features.simulation.terminals import (
    Cities,
    CodeArray,
    FloatArray,
    IndexArray,
    Terminals,
    scatter_around,
)

N_FAVOURITE_SHOPS = 12
N_FAVOURITE_ONLINE = 5
_SHOPS_LOOKED_AT = 36
_CUSTOMERS_AT_ONCE = 20_000


@dataclass(frozen=True, slots=True)
class Customers:
    """Every customer, ordered by home city.

    Attributes:
        city: Home city, one per customer.
        country: Country that issued the card, index into ``COUNTRIES``.
        profile: Index into ``PROFILES``: hours of the day and days of the week.
        payday: Index into ``PAYDAYS``.
        frequency: Relative number of transactions, mean about 1.
        log_amount_mean: Mean of the logarithm of an amount in major units.
        log_amount_std: Standard deviation of the same logarithm.
        online_share: Probability that a purchase is made online.
        favourite_shops: ``(n_customers, 12)``, terminals close to home, most visited first.
        favourite_online: ``(n_customers, 5)``, online merchants, most visited first.
        city_start: ``(n_cities + 1,)``; the customers of city ``c`` are
            ``city_start[c]:city_start[c + 1]``, possibly an empty range.
    """

    city: IndexArray
    country: CodeArray
    profile: CodeArray
    payday: CodeArray
    frequency: FloatArray
    log_amount_mean: FloatArray
    log_amount_std: FloatArray
    online_share: FloatArray
    favourite_shops: IndexArray
    favourite_online: IndexArray
    city_start: IndexArray

    def __len__(self) -> int:
        return len(self.city)


@dataclass(frozen=True, slots=True)
class Population:
    """The people and the places of one simulated world."""

    cities: Cities
    terminals: Terminals
    customers: Customers


def build_customers(
    rng: np.random.Generator, cities: Cities, terminals: Terminals, n_customers: int
) -> Customers:
    """Return customers with log-normal spending and skewed frequencies."""
    city = np.sort(rng.choice(len(cities), size=n_customers, p=cities.size))
    shares = [profile.share for profile in PROFILES]
    online = terminals.online(rng, n_customers * N_FAVOURITE_ONLINE)
    return Customers(
        city=city,
        country=cities.country[city],
        profile=rng.choice(len(PROFILES), size=n_customers, p=shares).astype(np.int8),
        payday=rng.integers(len(PAYDAYS), size=n_customers, dtype=np.int8),
        frequency=rng.gamma(2.0, 0.5, size=n_customers) + 0.02,
        log_amount_mean=rng.normal(3.0, 0.5, size=n_customers),
        log_amount_std=rng.uniform(0.4, 0.75, size=n_customers),
        online_share=rng.beta(2.0, 6.0, size=n_customers),
        favourite_shops=_nearby_shops(rng, cities, terminals, city),
        favourite_online=online.reshape(n_customers, N_FAVOURITE_ONLINE),
        city_start=np.searchsorted(city, np.arange(len(cities) + 1)),
    )


def _nearby_shops(
    rng: np.random.Generator, cities: Cities, terminals: Terminals, city: IndexArray
) -> IndexArray:
    """Return the nearest of some shops of the home city, in bounded blocks of customers."""
    favourites = np.empty((len(city), N_FAVOURITE_SHOPS), dtype=np.intp)
    for first in range(0, len(city), _CUSTOMERS_AT_ONCE):
        block = slice(first, first + _CUSTOMERS_AT_ONCE)
        home = scatter_around(rng, cities, city[block])
        seen = terminals.in_city(rng, np.repeat(city[block], _SHOPS_LOOKED_AT))
        seen = seen.reshape(-1, _SHOPS_LOOKED_AT)
        distance = ((terminals.place_km[seen] - home[:, None, :]) ** 2).sum(axis=2)
        nearest = np.argpartition(distance, N_FAVOURITE_SHOPS, axis=1)[:, :N_FAVOURITE_SHOPS]
        favourites[block] = np.take_along_axis(seen, nearest, axis=1)
    return favourites

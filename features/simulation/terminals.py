"""Where money is spent: cities, shops with a place, and merchants that exist only online."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.intp]
CodeArray = NDArray[np.int8]

COUNTRIES = ("FR", "DE", "ES", "IT", "NL", "BE", "IE", "LU", "US")
"""Countries by code. People live in the first six; the others only have online merchants."""
_N_HOME_COUNTRIES = 6
_ONLINE_COUNTRY_SHARE = (0.22, 0.18, 0.10, 0.10, 0.08, 0.05, 0.10, 0.07, 0.10)

CATEGORIES = (
    "grocery",
    "fuel",
    "restaurant",
    "pharmacy",
    "clothing",
    "electronics",
    "entertainment",
    "hotel",
    "jewellery",
    "online_retail",
    "digital_goods",
    "gaming",
    "airline",
)
_N_SHOP_CATEGORIES = 9
_SHOP_SHARE = (0.30, 0.09, 0.20, 0.09, 0.12, 0.06, 0.08, 0.04, 0.02)
_ONLINE_SHARE = (0.48, 0.26, 0.16, 0.10)
CATEGORY_LOG_PRICE = np.array(
    [0.0, 0.35, -0.05, -0.35, 0.45, 1.1, -0.2, 1.2, 1.6, 0.4, -1.5, -0.6, 1.5]
)
"""How a category moves the logarithm of a customer's usual amount."""

_ONLINE_TERMINAL_SHARE = 0.08
_MAP_KM = 1000.0
_CITY_SPREAD_KM = 8.0
_MAX_CITIES = 40
_TERMINALS_PER_CITY = 25


@dataclass(frozen=True, slots=True)
class Cities:
    """Places where people live and shop.

    Shape:
        ``place_km`` is ``(n_cities, 2)``; ``country`` and ``size`` are ``(n_cities,)``. ``size``
        is a share that sums to 1.
    """

    place_km: FloatArray
    country: CodeArray
    size: FloatArray

    def __len__(self) -> int:
        return len(self.size)


@dataclass(frozen=True, slots=True)
class Terminals:
    """Every terminal: shops first, ordered by city, then online merchants.

    Attributes:
        category: Index into :data:`CATEGORIES`, one per terminal.
        country: Index into :data:`COUNTRIES`, one per terminal.
        place_km: ``(n_shops, 2)``, where a shop stands.
        city_start: ``(n_cities + 1,)``; the shops of city ``c`` are
            ``city_start[c]:city_start[c + 1]``, never an empty range.
        n_shops: Terminals from this index on are online.
    """

    category: CodeArray
    country: CodeArray
    place_km: FloatArray
    city_start: IndexArray
    n_shops: int

    def __len__(self) -> int:
        return len(self.category)

    def in_city(self, rng: np.random.Generator, city: IndexArray) -> IndexArray:
        """Return one shop drawn at random in each of the given cities."""
        first = self.city_start[city]
        return first + _uniform_index(rng, self.city_start[city + 1] - first)

    def online(self, rng: np.random.Generator, n: int) -> IndexArray:
        """Return ``n`` online merchants; a few of them draw most of the visits."""
        n_online = len(self) - self.n_shops
        return self.n_shops + (n_online * rng.random(n) ** 2).astype(np.intp)

    def of_categories(self, categories: tuple[str, ...]) -> IndexArray:
        """Return the indices of all terminals of these categories, possibly none."""
        codes = [CATEGORIES.index(name) for name in categories]
        return np.flatnonzero(np.isin(self.category, codes))


def build_cities(rng: np.random.Generator, n_terminals: int) -> Cities:
    """Return cities on a square map, few large and many small; countries are vertical bands."""
    n_cities = int(np.clip(n_terminals // _TERMINALS_PER_CITY, 1, _MAX_CITIES))
    place = rng.random((n_cities, 2)) * _MAP_KM
    country = (place[:, 0] / _MAP_KM * _N_HOME_COUNTRIES).astype(np.int8)
    size = 1.0 / np.arange(1, n_cities + 1) ** 0.8
    return Cities(place_km=place, country=country, size=size / size.sum())


def build_terminals(rng: np.random.Generator, cities: Cities, n_terminals: int) -> Terminals:
    """Return terminals: at least one shop in each city and at least one online merchant."""
    n_online = max(1, round(n_terminals * _ONLINE_TERMINAL_SHARE))
    n_shops = n_terminals - n_online
    extra = rng.choice(len(cities), size=n_shops - len(cities), p=cities.size)
    city = np.sort(np.concatenate([np.arange(len(cities)), extra]))
    shop_category = rng.choice(_N_SHOP_CATEGORIES, size=n_shops, p=_SHOP_SHARE)
    online_category = _N_SHOP_CATEGORIES + rng.choice(4, size=n_online, p=_ONLINE_SHARE)
    online_country = rng.choice(len(COUNTRIES), size=n_online, p=_ONLINE_COUNTRY_SHARE)
    return Terminals(
        category=np.concatenate([shop_category, online_category]).astype(np.int8),
        country=np.concatenate([cities.country[city], online_country]).astype(np.int8),
        place_km=scatter_around(rng, cities, city),
        city_start=np.searchsorted(city, np.arange(len(cities) + 1)),
        n_shops=n_shops,
    )


def scatter_around(rng: np.random.Generator, cities: Cities, city: IndexArray) -> FloatArray:
    """Return one place in kilometres around the centre of each given city, ``(n, 2)``."""
    return cities.place_km[city] + rng.normal(0.0, _CITY_SPREAD_KM, size=(len(city), 2))


def _uniform_index(rng: np.random.Generator, size: IndexArray) -> IndexArray:
    return (rng.random(len(size)) * size).astype(np.intp)

"""Money as whole minor units, so that sums are exact."""

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

_WITHOUT_DECIMALS = (
    "BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND",
    "VUV", "XAF", "XOF", "XPF",
)  # fmt: skip
_THREE_DECIMALS = ("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND")
_DECIMALS = {**dict.fromkeys(_WITHOUT_DECIMALS, 0), **dict.fromkeys(_THREE_DECIMALS, 3)}
"""ISO 4217 currencies whose minor unit is not a hundredth."""

_BEYOND_INT64 = 2.0**63


def minor_units_per_major(currency: str) -> int:
    """Return how many minor units make one unit of a currency (ISO 4217).

    Example:
        >>> minor_units_per_major("EUR"), minor_units_per_major("JPY")
        (100, 1)
    """
    return int(10 ** _DECIMALS.get(currency, 2))


def to_minor_units(amount: pl.Series, currency: str) -> pl.Series:
    """Return a Float64 amount in major units as Int64 minor units; halves go to even.

    What Int64 cannot hold (infinities, 1e30) is null.

    Example:
        >>> to_minor_units(pl.Series([57.16, 0.125, None, 1e30]), "EUR").to_list()
        [5716, 12, None, None]
    """
    minor = amount * minor_units_per_major(currency)
    return minor.round(0, mode="half_to_even").cast(pl.Int64, strict=False)


def as_minor_units(amount: ArrayLike, currency: str) -> NDArray[np.float64]:
    """Return what :func:`to_minor_units` does for an array, as whole float64, NaN where missing.

    A table of one row costs more than a decision does.

    Shape:
        ``(n_rows,)`` -> ``(n_rows,)``.

    Example:
        >>> as_minor_units([57.16, 0.125, np.nan, 1e30], "EUR")
        array([5716.,   12.,   nan,   nan])
    """
    with np.errstate(over="ignore"):  # what becomes infinite is missing below
        minor = np.rint(np.asarray(amount, dtype=np.float64) * minor_units_per_major(currency))
    return np.where(np.abs(minor) < _BEYOND_INT64, minor, np.nan)

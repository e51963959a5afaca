"""Money as whole minor units, so that sums are exact."""

import polars as pl

_WITHOUT_DECIMALS = (
    "BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND",
    "VUV", "XAF", "XOF", "XPF",
)  # fmt: skip
_THREE_DECIMALS = ("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND")
_DECIMALS = {**dict.fromkeys(_WITHOUT_DECIMALS, 0), **dict.fromkeys(_THREE_DECIMALS, 3)}
"""ISO 4217 currencies whose minor unit is not a hundredth."""


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

"""Minor units: whole, rounded half to even, alike in tables and arrays."""

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from features.money import as_minor_units, to_minor_units

CURRENCIES = st.sampled_from(["EUR", "JPY", "KWD"])
AMOUNTS = st.none() | st.floats(allow_nan=False) | st.decimals(-1000, 1000, places=3).map(float)


@given(st.lists(AMOUNTS, max_size=20), CURRENCIES)
@example([1.8e306], "EUR")
def test_an_array_and_a_column_give_the_same_minor_units(
    amounts: list[float | None], currency: str
) -> None:
    column = to_minor_units(pl.Series(amounts, dtype=pl.Float64), currency)
    array = as_minor_units(np.array(amounts, dtype=np.float64), currency)

    np.testing.assert_array_equal(column.cast(pl.Float64).to_numpy(), array)


@pytest.mark.parametrize(
    ("currency", "expected"), [("EUR", 1250.0), ("JPY", 12.0), ("KWD", 12_500.0)]
)
def test_the_currency_decides_the_unit(currency: str, expected: float) -> None:
    assert as_minor_units([12.5], currency).tolist() == [expected]

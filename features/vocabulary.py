"""Categories as codes: 0 missing, 1 unknown, and from 2 the values known from training."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

MISSING = 0
UNKNOWN = 1
FIRST_KNOWN = 2

# A category must be seen this often to get a code of its own. The rarer ones share the unknown
# code, so that its embedding is trained and does not stay at its random start.
MIN_COUNT = 10
MAX_SIZE = 1000

_MISSING_CODE = pl.Series([MISSING], dtype=pl.Int64)


@dataclass(frozen=True)
class Vocabulary:
    """The known values of one categorical column; the value at position i has code i + 2.

    Attributes:
        values: Distinct values, the most frequent in training first, ties in text order.
    """

    values: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(set(self.values)) != len(self.values):
            raise ValueError(f"values must be distinct. Got {len(self.values)} with repetitions.")

    @classmethod
    def fit(
        cls, column: pl.Series, *, min_count: int = MIN_COUNT, max_size: int = MAX_SIZE
    ) -> "Vocabulary":
        """Return the vocabulary of a column's training rows.

        Args:
            column: String, null where missing.
            min_count: Rows that a value needs to become known.
            max_size: Most known values; the rarest give way.

        Shape:
            ``(n_rows,)``

        Example:
            >>> Vocabulary.fit(pl.Series(["b", "a", None, "b", "a", "c"]), min_count=2).values
            ('a', 'b')
        """
        counts = column.drop_nulls().alias("value").value_counts(name="rows")
        known = counts.filter(pl.col("rows") >= min_count).sort(
            "rows", "value", descending=[True, False]
        )
        return cls(tuple(known["value"].head(max_size).to_list()))

    @property
    def cardinality(self) -> int:
        """Number of codes: the known values, missing and unknown."""
        return len(self.values) + FIRST_KNOWN

    def encode(self, column: pl.Series) -> NDArray[np.int64]:
        """Return the code of every value.

        Shape:
            ``(n_rows,)`` String -> ``(n_rows,)`` int64, in ``[0, cardinality)``.

        Example:
            >>> Vocabulary(("DE", "FR")).encode(pl.Series(["FR", None, "XX", "DE"]))
            array([3, 0, 1, 2])
        """
        positions = column.cast(pl.String).cast(self._positions, strict=False).to_physical()
        codes = (positions.cast(pl.Int64) + FIRST_KNOWN).fill_null(UNKNOWN)
        if column.null_count():
            codes = codes.zip_with(column.is_not_null(), _MISSING_CODE)
        return codes.to_numpy()

    def decode(self, code: int) -> str | None:
        """Return the value of a code; None for missing and for unknown."""
        return self.values[code - FIRST_KNOWN] if code >= FIRST_KNOWN else None

    def code_of(self, value: str | None) -> int:
        """Return the code of one value."""
        return MISSING if value is None else self._code_by_value.get(value, UNKNOWN)

    @cached_property
    def _positions(self) -> pl.Enum:
        return pl.Enum(self.values)

    @cached_property
    def _code_by_value(self) -> Mapping[str, int]:
        return {value: code for code, value in enumerate(self.values, start=FIRST_KNOWN)}

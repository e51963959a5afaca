"""Features of single rows without a table: the fast evaluator.

A table of one row costs more than the network. The parity gate, the golden rows and a property
test hold this evaluator and :meth:`features.feature_set.FeatureSet.encode` equal.
"""

import struct
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.feature_set import FeatureArrays, FeatureSet
from serving.requests import TypedRow, values_of

_MISSING = float("nan")


class RowEncoder:
    """Encodes typed rows of a request, with their derived columns.

    Args:
        feature_set: Whose numbers and categories are read from the rows.
    """

    def __init__(self, feature_set: FeatureSet) -> None:
        self._n_numeric = len(feature_set.numeric)
        self._numbers_of = values_of(feature_set.numeric)
        self._pack = struct.Struct(f"{self._n_numeric}f").pack
        self._code_of = tuple(
            (name, feature_set.vocabularies[name].code_of) for name in feature_set.categorical
        )

    def encode(self, rows: Sequence[TypedRow]) -> FeatureArrays:
        """Return the features of some rows.

        Shape:
            ``(n, n_numeric)`` float32 with NaN for missing and infinity for what float32 does not
            hold, ``(n, n_categorical)`` int64.
        """
        return FeatureArrays(self._numbers(rows), self._codes(rows))

    def _codes(self, rows: Sequence[TypedRow]) -> NDArray[np.int64]:
        if not self._code_of:
            return np.empty((len(rows), 0), dtype=np.int64)
        codes = [[code_of(row[name]) for name, code_of in self._code_of] for row in rows]
        return np.array(codes, dtype=np.int64)

    def _numbers(self, rows: Sequence[TypedRow]) -> NDArray[np.float32]:
        # Rounded as an array's numbers are, once from 64 bits to 32, at a third of the cost.
        numbers_of, pack = self._numbers_of, self._pack
        try:
            packed = [pack(*numbers_of(row)) for row in rows]
        except struct.error:  # somewhere a number is missing
            packed = [pack(*_with_nan(numbers_of(row))) for row in rows]
        content = bytearray().join(packed)
        return np.frombuffer(content, dtype=np.float32).reshape(len(rows), self._n_numeric)


def _with_nan(numbers: tuple[Any, ...]) -> Iterable[float]:
    if None in numbers:
        return [_MISSING if each is None else each for each in numbers]
    return numbers

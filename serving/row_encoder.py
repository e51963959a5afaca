"""Features of single rows without a table: the fast evaluator.

A table of one row costs more than the network. The parity gate, the golden rows and a property
test hold this evaluator and :meth:`features.feature_set.FeatureSet.encode` equal.
"""

from collections.abc import Sequence

import numpy as np

from features.feature_set import FeatureArrays, FeatureSet
from serving.requests import TypedRow


class RowEncoder:
    """Encodes typed rows of a request, with their derived columns.

    Args:
        feature_set: Whose numbers and categories are read from the rows.
    """

    def __init__(self, feature_set: FeatureSet) -> None:
        self._numeric = tuple(feature_set.numeric)
        self._code_of = tuple(
            (name, feature_set.vocabularies[name].code_of) for name in feature_set.categorical
        )

    def encode(self, rows: Sequence[TypedRow]) -> FeatureArrays:
        """Return the features of some rows.

        Shape:
            ``(n, n_numeric)`` float32 with NaN for missing and infinity for what float32 does not
            hold, ``(n, n_categorical)`` int64.
        """
        numbers = [[row[name] for name in self._numeric] for row in rows]
        codes = [[code_of(row[name]) for name, code_of in self._code_of] for row in rows]
        # Through float64, as a table goes: one rounding, the same one. None becomes NaN.
        exact = np.array(numbers, dtype=np.float64).reshape(len(rows), len(self._numeric))
        with np.errstate(over="ignore"):
            numeric = exact.astype(np.float32)
        categorical = np.array(codes, dtype=np.int64).reshape(len(rows), len(self._code_of))
        return FeatureArrays(numeric, categorical)

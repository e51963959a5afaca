"""Labelled rows in the forms that the libraries take."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from balancing.dataset import FloatArray, LabelledArrays
from balancing.preprocessing import fit_numeric, standardised

LARGEST = 1e30
"""Beyond it numbers are clipped: XGBoost refuses infinities."""

MOST_CODES = 32
"""One-hot columns a categorical column; rarer codes share the last one."""


def feature_matrix(arrays: LabelledArrays) -> FloatArray:
    """Return numbers (NaN where missing), then category codes, ``(n_rows, d)`` float32."""
    numeric = np.clip(arrays.numeric, -LARGEST, LARGEST)
    return np.hstack([numeric, arrays.categorical.astype(np.float32)])


def categorical_columns(arrays: LabelledArrays) -> list[int]:
    """Return where the codes stand in the feature matrix."""
    d_numeric = arrays.numeric.shape[1]
    return list(range(d_numeric, d_numeric + arrays.categorical.shape[1]))


class DenseInputs:
    """Standardised numbers without gaps beside one-hot categories, learnt from training rows.

    For models that know neither missing values nor categories.
    """

    def __init__(self, train: LabelledArrays) -> None:
        from sklearn.preprocessing import OneHotEncoder

        self.statistics = fit_numeric(train.numeric, clip=20.0)
        self.encoder: Any = None
        if train.categorical.shape[1]:
            self.encoder = OneHotEncoder(
                handle_unknown="infrequent_if_exist",
                max_categories=MOST_CODES,
                sparse_output=False,
                dtype=np.float32,
            ).fit(train.categorical)

    def __call__(self, arrays: LabelledArrays) -> NDArray[np.float32]:
        """Return ``(n_rows, d)`` float32, finite."""
        statistics = self.statistics
        median = (statistics.median - statistics.mean) / statistics.deviation
        values = standardised(arrays.numeric, statistics)
        missing = np.isnan(arrays.numeric)
        parts = [np.where(missing, median, values), missing[:, statistics.indicator]]
        if self.encoder is not None:
            parts.append(self.encoder.transform(arrays.categorical))
        return np.hstack(parts).astype(np.float32)

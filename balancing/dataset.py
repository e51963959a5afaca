"""Labelled rows as arrays: the one form in which tables reach the networks."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from infra.errors import InputError

POSITIVE = 1

FloatArray: TypeAlias = NDArray[np.float32]
IntArray: TypeAlias = NDArray[np.int64]
LabelArray: TypeAlias = NDArray[np.int8]


class OneClassOnly(InputError):
    """Raised when rows to learn or judge by hold only one class."""


@dataclass(frozen=True, slots=True)
class LabelledArrays:
    """Encoded features and labels of the same rows.

    Attributes:
        numeric: Numeric features, float32, NaN where missing.
        categorical: Codes, int64; 0 = missing, 1 = unknown, from 2 on the known values.
        label: int8, 1 for the positive class and 0 otherwise.

    Shape:
        ``(n_rows, n_numeric)``, ``(n_rows, n_categorical)``, ``(n_rows,)``.
    """

    numeric: FloatArray
    categorical: IntArray
    label: LabelArray

    def __post_init__(self) -> None:
        rows = (len(self.numeric), len(self.categorical), len(self.label))
        if len(set(rows)) != 1:
            raise ValueError(
                f"numeric, categorical and label must have the same rows. Got {rows} rows."
            )
        if self.numeric.ndim != 2 or self.categorical.ndim != 2 or self.label.ndim != 1:
            raise ValueError(
                "numeric and categorical must have two dimensions and label one. Got shapes "
                f"{self.numeric.shape}, {self.categorical.shape}, {self.label.shape}."
            )

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.label)

    @property
    def class_counts(self) -> IntArray:
        """Rows per class, ``(2,)``: negative, positive."""
        return np.bincount(self.label.astype(np.int64), minlength=2).astype(np.int64)

    def take(self, index: IntArray) -> "LabelledArrays":
        """Return the rows at ``index``, in its order."""
        return LabelledArrays(self.numeric[index], self.categorical[index], self.label[index])

    def require_both_classes(self, role: str) -> None:
        """Refuse rows that hold one class only.

        Args:
            role: What the rows are for, as the message should name it ("training").

        Raises:
            OneClassOnly: If the rows are all positive or all negative.
        """
        negatives, positives = self.class_counts
        if negatives == 0 or positives == 0:
            missing = "positive" if positives == 0 else "negative"
            raise OneClassOnly(
                f"The {role} rows must hold both classes. Got {self.n_rows} rows and none of them "
                f"{missing}. Widen the {role} period, or check the label column."
            )


def without_categories(
    numeric: FloatArray, label: LabelArray | NDArray[np.integer]
) -> LabelledArrays:
    """Return the arrays of a table that has no categorical feature."""
    return LabelledArrays(
        np.ascontiguousarray(numeric, dtype=np.float32),
        np.empty((len(numeric), 0), dtype=np.int64),
        np.asarray(label, dtype=np.int8),
    )

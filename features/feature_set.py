"""The fitted feature set: conformed rows to the arrays that a network takes.

Columns with names become positions here and nowhere else. Numbers become float32 with NaN for
missing (scaling and imputation are part of the network), categories become codes of the
vocabularies that were fitted on training rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.contract import Contract, ContractError, parse_contract
from features.derived import derive, derived_sources
from features.row_wise import plain_sql
from features.velocity import velocity_plan
from features.vocabulary import MAX_SIZE, MIN_COUNT, UNKNOWN, Vocabulary
from infra.errors import InputError
from infra.storage import sha256_json

# Raise it when the same columns come to mean other arrays.
_FORMAT = 1
# Rows copied at once: a block of every column fits in the cache while it is interleaved.
_BLOCK_ROWS = 4096


class FeatureSetMismatch(InputError):
    """Raised when rows lack a column that the feature set needs; names the column."""


@dataclass(frozen=True, slots=True)
class FeatureArrays:
    """Features of ``n`` rows, in the feature set's order.

    Attributes:
        numeric: float32, C-contiguous, NaN where missing.
        categorical: int64, C-contiguous, codes of the vocabularies.

    Shape:
        ``(n, n_numeric)`` and ``(n, n_categorical)``
    """

    numeric: NDArray[np.float32]
    categorical: NDArray[np.int64]


@dataclass(frozen=True)
class FeatureSet:
    """Names, order and codes of the features. Made by :meth:`fit`.

    Attributes:
        contract: Resolved against the training table.
        numeric: Numeric features: amount, numeric and derived columns, features over time.
        categorical: Categorical features.
        vocabularies: Vocabulary by categorical feature.
        input_types: Type of each source column in the training table: number, integer, text,
            timestamp or boolean.
    """

    contract: Contract
    numeric: tuple[str, ...]
    categorical: tuple[str, ...]
    vocabularies: Mapping[str, Vocabulary]
    input_types: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def fit(
        cls,
        contract: Contract,
        train_frame: pl.DataFrame,
        *,
        input_types: Mapping[str, str],
        min_count: int = MIN_COUNT,
        max_size: int = MAX_SIZE,
    ) -> "FeatureSet":
        """Return the feature set of a contract, with vocabularies of these rows.

        Args:
            contract: Resolved against the table.
            train_frame: Conformed training rows, and no others.
            input_types: Type of each source column as the table had it.
            min_count: Rows that a category needs to get a code of its own.
            max_size: Most categories with a code of their own, per column.

        Raises:
            FeatureSetMismatch: If a categorical column is missing.
            ContractError: If a benign reference value names no feature.
        """
        _check_benign_names(contract)
        categorical = contract.categorical_features
        vocabularies = {
            name: Vocabulary.fit(
                _category(train_frame, name, contract), min_count=min_count, max_size=max_size
            )
            for name in categorical
        }
        return cls(contract, contract.numeric_features, categorical, vocabularies, input_types)

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """Number of codes of each categorical feature, in order."""
        return tuple(self.vocabularies[name].cardinality for name in self.categorical)

    @property
    def names(self) -> tuple[str, ...]:
        """Every feature, numeric ones first."""
        return self.numeric + self.categorical

    @cached_property
    def hash(self) -> str:
        """SHA-256 over all that gives the arrays their meaning, and nothing else."""
        derived = {name: plain_sql(sql) for name, sql in self.contract.derived.items()}
        event_time = self.contract.columns.event_time
        reads_time = event_time is not None and event_time.column in derived_sources(self.contract)
        meaning = {
            "format": _FORMAT,
            "numeric": self.numeric,
            "categorical": self.categorical,
            "derived": derived,
            "event_time": event_time.model_dump(mode="json") if event_time and reads_time else None,
            "vocabularies": {name: self.vocabularies[name].values for name in self.categorical},
            "dtypes": {"numeric": "float32", "categorical": "int64"},
        }
        plan = velocity_plan(self.contract)
        return sha256_json(meaning | ({"over_time": plan.state_key} if plan else {}))

    def transform(self, frame: pl.DataFrame) -> FeatureArrays:
        """Return the features of conformed rows; derived columns are computed here.

        Features over time must be there: they come from other rows (``add_velocity``, or the
        online state). Optional columns that the frame lacks count as missing.

        Raises:
            FeatureSetMismatch: If the frame lacks any other column that a feature needs.
        """
        needed = (*self.contract.numeric_columns, *derived_sources(self.contract))
        for name in dict.fromkeys((*needed, *self.categorical)):
            _check_present(frame, name, self.contract)
        return self.encode(derive(frame, self.contract))

    def encode(self, frame: pl.DataFrame) -> FeatureArrays:
        """Return the arrays of rows that have every feature by name.

        Raises:
            FeatureSetMismatch: If a feature is missing that is not optional.
        """
        return FeatureArrays(self._numeric_array(frame), self._categorical_array(frame))

    def unknown_categories(self, arrays: FeatureArrays) -> dict[str, NDArray[np.bool_]]:
        """Return, by categorical feature, which rows hold a value without a code of its own.

        Shape:
            ``(n,)`` bool each; features without such a row are left out.
        """
        is_unknown = arrays.categorical == UNKNOWN
        found = np.flatnonzero(is_unknown.any(axis=0))
        return {self.categorical[at]: is_unknown[:, at] for at in found}

    def to_json(self) -> dict[str, Any]:
        """Return the feature set as JSON values, which :meth:`from_json` reads back."""
        return {
            "format": _FORMAT,
            "contract": self.contract.model_dump(mode="json"),
            "numeric": list(self.numeric),
            "categorical": list(self.categorical),
            "vocabularies": {name: list(v.values) for name, v in self.vocabularies.items()},
            "input_types": dict(self.input_types),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "FeatureSet":
        """Return the feature set that :meth:`to_json` wrote.

        Raises:
            FeatureSetMismatch: If it was written in another format.
        """
        if value.get("format") != _FORMAT:
            raise FeatureSetMismatch(
                f"The feature set has format {value.get('format')!r}, this build reads {_FORMAT}. "
                "Train again, or deploy the release that wrote it."
            )
        return cls(
            parse_contract(value["contract"], source="feature set"),
            tuple(value["numeric"]),
            tuple(value["categorical"]),
            {name: Vocabulary(tuple(known)) for name, known in value["vocabularies"].items()},
            dict(value["input_types"]),
        )

    def _numeric_array(self, frame: pl.DataFrame) -> NDArray[np.float32]:
        columns = [_number(frame, name, self.contract) for name in self.numeric]
        array = np.empty((frame.height, len(columns)), dtype=np.float32)
        # What does not fit float32 becomes infinite, as validation and the scorer expect.
        with np.errstate(over="ignore"):
            for start in range(0, frame.height, _BLOCK_ROWS):
                rows = slice(start, start + _BLOCK_ROWS)
                for at, column in enumerate(columns):
                    array[rows, at] = column[rows]
        return array

    def _categorical_array(self, frame: pl.DataFrame) -> NDArray[np.int64]:
        array = np.empty((frame.height, len(self.categorical)), dtype=np.int64)
        for at, name in enumerate(self.categorical):
            array[:, at] = self.vocabularies[name].encode(_category(frame, name, self.contract))
        return array


def _number(frame: pl.DataFrame, name: str, contract: Contract) -> NDArray[np.float64]:
    if not _check_present(frame, name, contract):
        return np.full(frame.height, np.nan)
    return frame[name].cast(pl.Float64).to_numpy()


def _category(frame: pl.DataFrame, name: str, contract: Contract) -> pl.Series:
    if not _check_present(frame, name, contract):
        return pl.Series(name, [None], dtype=pl.String).new_from_index(0, frame.height)
    return frame[name]


def _check_present(frame: pl.DataFrame, name: str, contract: Contract) -> bool:
    """Return whether the frame has a column; only optional ones may be absent."""
    if name in frame.columns:
        return True
    if name in contract.columns.optional:
        return False
    if name in contract.velocity_features:
        raise FeatureSetMismatch(
            f"The rows lack {name!r}, a feature over time, which is no column of a row: "
            "add it from the rows before (add_velocity) or from the online state."
        )
    raise FeatureSetMismatch(
        f"The rows lack column {name!r}, which the features of {contract.name!r} need. "
        "Add it, or train with a contract that names it in columns.optional."
    )


def _check_benign_names(contract: Contract) -> None:
    features = (*contract.numeric_features, *contract.categorical_features)
    for name, value in contract.reasons.benign.items():
        if name not in features:
            raise ContractError(f"reasons.benign names {name!r}, which is no feature.")
        if name in contract.numeric_features and isinstance(value, str):
            raise ContractError(
                f"reasons.benign.{name} must be a number, as the feature is. Got {value!r}."
            )

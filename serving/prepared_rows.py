"""Rows made ready for the network: features, and the row rules that are broken.

Features have two parts. The row part comes from the row itself, and is computed here. The velocity
part comes from what its entities did before: a table brings it as columns
(``features.velocity_table``), a request's rows as a matrix (``serving.online_features``).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from balancing.calibration.policy import Policy, PolicyMismatch
from features.contract import Contract
from features.derived import derive
from features.derived_row import compile_derived
from features.exploration import check_exploration
from features.feature_set import FeatureArrays, FeatureSet
from features.money import as_minor_units
from features.segments import SegmentArray, segment_keys, segment_keys_of_requests
from serving.requests import RowReader, TypedRow
from serving.row_encoder import RowEncoder
from serving.row_rules import Broken, RowRules
from serving.scored import UnscorableRow

T = TypeVar("T")

VelocityMatrix = NDArray[np.float64]
"""Features over time, ``(n_rows, n_velocity)``, in the order of ``contract.velocity_features``."""


@dataclass(slots=True)
class PreparedRows:
    """What the network and the policy see of some rows; not to be changed.

    Attributes:
        arrays: Features.
        broken: Flags of the row rules that they break.
        amount_minor: Amounts in minor units, NaN where missing, ``(n_rows,)``; None where the
            policy does not decide by them.
        segment: Segments, ``(n_rows,)``; None where the policy does not go by them.
    """

    arrays: FeatureArrays
    broken: Broken
    amount_minor: NDArray[np.float64] | None = None
    segment: SegmentArray | None = None


class RowPreparer:
    """Prepares tables and the rows of requests; the same row gives the same bits in both.

    Args:
        feature_set: Fitted; its contract is resolved.
        reader: Of the same contract.
        policy: Says whether amounts and segments are wanted.

    Raises:
        PolicyMismatch: If the policy decides by what the contract's rows do not have.
    """

    def __init__(self, feature_set: FeatureSet, reader: RowReader, policy: Policy) -> None:
        contract = feature_set.contract
        _check_policy(policy, contract)
        self._amount = contract.columns.amount if policy.needs_amounts else None
        self._segment_columns = policy.segment_columns if policy.needs_segments else ()
        self._contract = contract
        self._reader = reader
        self._rules = RowRules(contract)
        self._feature_set = feature_set
        self._n_velocity = len(contract.velocity_features)
        n_own = len(feature_set.numeric) - self._n_velocity
        self._row_part = replace(feature_set, numeric=feature_set.numeric[:n_own])
        # Keys of segments by a derived number are a table's to write.
        is_plain = not set(self._segment_columns) & set(contract.derived)
        self._derived = compile_derived(contract) if is_plain else None
        self._encoder = RowEncoder(self._row_part)

    def of_table(self, frame: pl.DataFrame) -> PreparedRows:
        """Prepare a conformed table that has its velocity columns.

        Raises:
            UnscorableRow: If a number is infinite, or beyond what float32 holds.
            FeatureSetMismatch: If a column is missing that is not optional.
        """
        return self._prepared(frame, self._feature_set)

    def of_rows(self, rows: Sequence[TypedRow], velocity: VelocityMatrix | None) -> PreparedRows:
        """Prepare typed rows of a request.

        Args:
            rows: Typed by the contract.
            velocity: Their features over time; None where the contract declares none.

        Raises:
            UnscorableRow: If a number is infinite, or beyond what float32 holds.
            ValueError: If ``velocity`` does not fit the rows and the contract.
        """
        if self._derived is None:
            prepared = self._prepared(self._reader.frame(rows), self._row_part)
        else:
            amount = self._amount
            if self._contract.derived:
                rows = [self._derived.extend(row) for row in rows]
            arrays = self._encoder.encode(rows)
            if self._contract.derived:
                # What a client sends is bounded when it is read; what is derived from it is not.
                _refuse_infinite(arrays, self._row_part)
            prepared = PreparedRows(
                arrays,
                self._rules.broken_by(rows),
                self._minor(None if amount is None else [row[amount.column] for row in rows]),
                segment_keys_of_requests(rows, self._segment_columns),
            )
        if velocity is None and not self._n_velocity:
            return prepared
        return replace(prepared, arrays=self._with_velocity(prepared.arrays, velocity))

    def _prepared(self, frame: pl.DataFrame, feature_set: FeatureSet) -> PreparedRows:
        derived = derive(frame, self._contract) if self._contract.derived else frame
        arrays = feature_set.encode(derived)
        _refuse_infinite(arrays, feature_set)
        return PreparedRows(
            arrays,
            self._rules.broken(derived),
            self._minor(None if self._amount is None else derived[self._amount.column].to_numpy()),
            segment_keys(derived, self._segment_columns),
        )

    def _minor(self, amount: ArrayLike | None) -> NDArray[np.float64] | None:
        if amount is None or self._amount is None:
            return None
        # A list of a request's amounts holds None where one is missing, which becomes NaN.
        return as_minor_units(np.array(amount, dtype=np.float64), self._amount.currency)

    def _with_velocity(
        self, arrays: FeatureArrays, velocity: VelocityMatrix | None
    ) -> FeatureArrays:
        wanted = (len(arrays.numeric), self._n_velocity)
        found = None if velocity is None else velocity.shape
        if velocity is None or found != wanted:
            raise ValueError(f"velocity must have the shape {wanted}. Got {found}.")
        # From float64 to float32 in one rounding, as a table's columns go.
        numeric = np.concatenate([arrays.numeric, velocity.astype(np.float32)], axis=1)
        return FeatureArrays(numeric, arrays.categorical)


def _check_policy(policy: Policy, contract: Contract) -> None:
    name = f"Policy {policy.policy_id[:12]}"
    if policy.needs_amounts and contract.columns.amount is None:
        raise PolicyMismatch(
            f"{name} decides by amounts, and contract {contract.name!r} has no amount column. "
            "Recalibrate with another objective than cost."
        )
    try:
        check_exploration(policy.exploration, contract, where="exploration")
    except ValueError as error:
        raise PolicyMismatch(f"{name} does not suit contract {contract.name!r}: {error}.") from None
    known = (*contract.categorical_features, *contract.derived)
    unknown = [column for column in policy.segment_columns if column not in known]
    if policy.needs_segments and (unknown or not policy.segment_columns):
        lacking = f"column {unknown[0]!r}" if unknown else "columns to segment by"
        raise PolicyMismatch(
            f"{name} decides by segments, and contract {contract.name!r} has no {lacking}. "
            "Recalibrate with segments that the contract has."
        )


def velocity_of(frame: pl.DataFrame, contract: Contract) -> VelocityMatrix:
    """Return the features over time that a table has as columns, NaN where null."""
    names = contract.velocity_features
    if not names:
        return np.empty((frame.height, 0))
    return frame.select(pl.col(names).cast(pl.Float64)).to_numpy()


def one_by_one(
    score: Callable[[Sequence[TypedRow], VelocityMatrix | None], list[T]],
    rows: Sequence[TypedRow],
    velocity: VelocityMatrix | None,
) -> list[T]:
    """Return what scoring says of each row alone."""
    return [
        outcome
        for at, row in enumerate(rows)
        for outcome in score([row], None if velocity is None else velocity[at : at + 1])
    ]


def _refuse_infinite(arrays: FeatureArrays, feature_set: FeatureSet) -> None:
    infinite = np.isinf(arrays.numeric)
    if infinite.any():
        column = int(np.argwhere(infinite)[0][1])
        raise UnscorableRow(
            f"Column {feature_set.numeric[column]!r} has an infinite value, or one "
            f"beyond 3.4e38 ({int(infinite.sum())} such values). Validate the table first: "
            "whitecrow validate sets such rows aside."
        )

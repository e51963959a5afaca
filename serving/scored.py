"""What the scorer says of rows: of a table's rows as arrays, of a request's row by row."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat, starmap
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from balancing.calibration.score_map import ScoreMap
from balancing.calibration.thresholds import DECISION_NAMES
from features.feature_set import FeatureArrays
from features.segments import SegmentArray
from infra.errors import InputError
from serving.answer_shapes import Reason

# A frozen dataclass costs many times what these do to make, and each row has one.

_FLOAT32, _INT64 = np.dtype("<f4"), np.dtype("<i8")

T = TypeVar("T")


class UnscorableRow(InputError):
    """Raised when a table holds a number that no network can work with."""


@dataclass(slots=True)
class ScoredBatch:
    """What the scorer says of a table's rows, in their order; not to be changed.

    Attributes:
        logits: float32.
        risk_score: float64, in [0, 1].
        decision: int8: 0 approve, 1 review, 2 decline.
        flags: Unknown categories and broken row rules, by the number of the row.
        reasons: Up to four for each row that is not approved, by the number of the row.
        arrays: The features.
        amount_minor: Minor units, NaN where missing; None where the policy needs no amounts.
        segment: Segments; None where the policy needs none.

    Shape:
        ``(n, 2)`` logits, ``(n,)`` for the others.
    """

    logits: NDArray[np.float32]
    risk_score: NDArray[np.float64]
    decision: NDArray[np.int8]
    flags: dict[int, tuple[str, ...]]
    reasons: dict[int, tuple[Reason, ...]]
    arrays: FeatureArrays
    amount_minor: NDArray[np.float64] | None = None
    segment: SegmentArray | None = None


@dataclass(slots=True)
class ScoredRow:
    """What the scorer says of one row of a request; not to be changed.

    Attributes:
        logits: float32, as float.
        numeric: Its numeric features: float32, little-endian.
        categorical: Its categorical features: int64, little-endian.
        rules: SHA-256 of the hard rules that decided it; None where none did.
    """

    id: str | None
    risk_score: float
    decision: str
    reasons: tuple[Reason, ...]
    flags: tuple[str, ...]
    false_positive_rate: float
    alerts_per_day: float | None
    logits: tuple[float, ...]
    numeric: bytes
    categorical: bytes
    rules: bytes | None = None


def scored_rows(
    batch: ScoredBatch, ids: Iterable[str | None], score_map: ScoreMap
) -> list[ScoredRow]:
    """Return a request's rows one by one.

    Args:
        batch: What was computed of them.
        ids: Of each row.
        score_map: Says where their scores stand.
    """
    n_rows = len(batch.decision)
    alerts_per_day = score_map.alerts_per_day_at(batch.risk_score)
    per_row = zip(
        ids,
        batch.risk_score.tolist(),
        map(DECISION_NAMES.__getitem__, batch.decision.tolist()),
        _by_row(batch.reasons, n_rows),
        _by_row(batch.flags, n_rows),
        score_map.false_positive_rate_at(batch.risk_score).tolist(),
        repeat(None) if alerts_per_day is None else alerts_per_day.tolist(),
        map(tuple, batch.logits.tolist()),
        _bytes_by_row(batch.arrays.numeric, _FLOAT32),
        _bytes_by_row(batch.arrays.categorical, _INT64),
        strict=False,
    )
    return list(starmap(ScoredRow, per_row))


def refuse_overflow(logits: NDArray[np.float32]) -> None:
    """Refuse rows whose logits overflow.

    Raises:
        UnscorableRow: Naming how many they are.
    """
    is_finite = np.isfinite(logits)
    if np.count_nonzero(is_finite) != logits.size:
        n_overflown = int((~is_finite).any(axis=1).sum())
        raise UnscorableRow(
            f"{n_overflown} row(s) hold numbers too far out for the network: their scores "
            "overflow. Set bounds in [expectations] and validate the table first."
        )


def joined(parts: Sequence[ScoredBatch]) -> ScoredBatch:
    """Return the parts of one table, scored apart, as one."""
    starts = np.cumsum([0, *(len(part.decision) for part in parts)]).tolist()
    arrays = FeatureArrays(
        np.concatenate([part.arrays.numeric for part in parts]),
        np.concatenate([part.arrays.categorical for part in parts]),
    )
    return ScoredBatch(
        logits=np.concatenate([part.logits for part in parts]),
        risk_score=np.concatenate([part.risk_score for part in parts]),
        decision=np.concatenate([part.decision for part in parts]),
        flags=_renumbered([part.flags for part in parts], starts),
        reasons=_renumbered([part.reasons for part in parts], starts),
        arrays=arrays,
        amount_minor=_concatenated([part.amount_minor for part in parts]),
        segment=_concatenated([part.segment for part in parts]),
    )


def _by_row(given: dict[int, tuple[T, ...]], n_rows: int) -> Iterable[tuple[T, ...]]:
    return [given.get(at, ()) for at in range(n_rows)] if given else repeat((), n_rows)


def _bytes_by_row(values: NDArray[Any], dtype: np.dtype[Any]) -> Iterable[bytes]:
    width = values.shape[1] * dtype.itemsize
    if not width:
        return repeat(b"", len(values))
    content = values.astype(dtype, copy=False).tobytes()
    return [content[at : at + width] for at in range(0, len(content), width)]


def _concatenated(parts: Sequence[NDArray[Any] | None]) -> NDArray[Any] | None:
    present = [part for part in parts if part is not None]
    return np.concatenate(present) if present else None


def _renumbered(parts: Sequence[dict[int, T]], starts: Sequence[int]) -> dict[int, T]:
    """Return what the parts say of their rows, by the numbers of the whole table's rows."""
    return {
        start + at: value
        for part, start in zip(parts, starts, strict=False)
        for at, value in part.items()
    }

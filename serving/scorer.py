"""The scorer: rows to decisions, the same function in evaluation, batch and HTTP."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from balancing.calibration.policy import Policy
from balancing.calibration.thresholds import DECISION_NAMES, REVIEW
from balancing.inference import OnnxModel
from features.derived import derive
from features.feature_set import FeatureArrays
from infra.errors import InputError
from serving.bundle import ModelBundle
from serving.reasons import Reason, ReasonFinder
from serving.refusals import RequestRefused
from serving.request_fields import RequestField
from serving.requests import RowReader, TypedRow
from serving.row_encoder import RowEncoder
from serving.row_rules import RowRules

T = TypeVar("T")

_ROWS_AT_ONCE = 1 << 15


class UnscorableRow(InputError):
    """Raised when a table holds a number that no network can work with."""


@dataclass(frozen=True, slots=True)
class ScoredBatch:
    """What the scorer says of a table's rows, in their order.

    Attributes:
        logits: float32.
        risk_score: float64, in [0, 1].
        decision: int8: 0 approve, 1 review, 2 decline.
        flags: Unknown categories and broken row rules, by the number of the row.
        reasons: Up to four for each row that is not approved, by the number of the row.
        arrays: The features.

    Shape:
        ``(n, 2)`` logits, ``(n,)`` for the others.
    """

    logits: NDArray[np.float32]
    risk_score: NDArray[np.float64]
    decision: NDArray[np.int8]
    flags: dict[int, tuple[str, ...]]
    reasons: dict[int, tuple[Reason, ...]]
    arrays: FeatureArrays


@dataclass(frozen=True, slots=True)
class ScoredRow:
    """What the scorer says of one row of a request."""

    id: str | None
    risk_score: float
    decision: str
    reasons: tuple[Reason, ...]
    flags: tuple[str, ...]
    false_positive_rate: float
    alerts_per_day: float | None


@dataclass(frozen=True, slots=True)
class _Prepared:
    """Features of some rows, and the flags that they raise."""

    arrays: FeatureArrays
    broken: dict[str, NDArray[np.bool_]]


class Scorer:
    """One model with one policy.

    Args:
        bundle: A verified bundle.
        policy: A policy made for that bundle's model.
        model_version: Version of the bundle, as the answers name it.
        policy_version: Version of the policy, as the answers name it.
        policy_key_id: The trusted key that signed the policy; None where none is trusted.
        threads: Parts of a table that are scored at the same time, each on a thread of its own.

    Raises:
        PolicyMismatch: If the policy was made for another model.
    """

    def __init__(
        self,
        bundle: ModelBundle,
        policy: Policy,
        *,
        model_version: str,
        policy_version: str,
        policy_key_id: str | None = None,
        threads: int = 1,
    ) -> None:
        policy.verify(bundle.model_sha256)
        self.bundle = bundle
        self.policy = policy
        self.model_version = model_version
        self.policy_version = policy_version
        self.policy_key_id = policy_key_id
        self.model = OnnxModel(bundle.model)
        self._threads = threads
        self._contract = bundle.contract
        self._reader = RowReader(self._contract, bundle.feature_set.input_types)
        self._rules = RowRules(self._contract)
        self._encoder = None if self._contract.derived else RowEncoder(bundle.feature_set)
        self._reasons = ReasonFinder(
            bundle.feature_set, self._contract, bundle.benign, self._risk_of
        )

    @property
    def name(self) -> str:
        """The model's name."""
        return self.bundle.manifest.name

    @property
    def fields(self) -> tuple[RequestField, ...]:
        """The fields of a request, in the contract's order."""
        return self._reader.fields

    def score_frame(self, frame: pl.DataFrame, *, with_reasons: bool = True) -> ScoredBatch:
        """Score a conformed table (:func:`features.ingestion.conforming.conform`).

        A row's answer does not depend on the part of the table that it falls into.
        """
        score = partial(self._score_part, with_reasons=with_reasons)
        parts = [frame.slice(at, _ROWS_AT_ONCE) for at in range(0, frame.height, _ROWS_AT_ONCE)]
        if len(parts) <= 1:
            return score(frame)
        with ThreadPoolExecutor(self._threads) as pool:
            return _joined(list(pool.map(score, parts)))

    def score_rows(self, rows: Sequence[Mapping[str, Any]]) -> list[ScoredRow | RequestRefused]:
        """Score rows of a request, each on its own; a bad row yields its refusal."""
        outcomes: list[Any] = [self._read(row) for row in rows]
        good = [at for at, outcome in enumerate(outcomes) if isinstance(outcome, dict)]
        if good:
            typed = [outcomes[at] for at in good]
            for at, outcome in zip(good, self._score_typed(typed), strict=True):
                outcomes[at] = outcome
        return outcomes

    def score_requests(self, rows: Sequence[Mapping[str, Any]]) -> ScoredBatch:
        """Score rows of a request as :meth:`score_rows` does, and return all that was computed.

        Raises:
            RequestRefused: If a row is not fit to be scored.
        """
        typed = [self._reader.read(row) for row in rows]
        return self._score(self._prepare_rows(typed), with_reasons=False)

    def _read(self, row: Mapping[str, Any]) -> dict[str, Any] | RequestRefused:
        try:
            return self._reader.read(row)
        except RequestRefused as refusal:
            return refusal

    def _score_typed(self, rows: Sequence[TypedRow]) -> list[ScoredRow | RequestRefused]:
        try:
            batch = self._score(self._prepare_rows(rows), with_reasons=True)
        except UnscorableRow:
            if len(rows) > 1:
                return [outcome for row in rows for outcome in self._score_typed([row])]
            return [RequestRefused("out_of_range", "A number is too far out to be scored.")]
        ids = (row.get(self._contract.columns.id or "") for row in rows)
        return [self._row(batch, at, row_id) for at, row_id in enumerate(ids)]

    def _score_part(self, frame: pl.DataFrame, *, with_reasons: bool) -> ScoredBatch:
        return self._score(self._prepare(frame), with_reasons=with_reasons)

    def _prepare_rows(self, rows: Sequence[TypedRow]) -> _Prepared:
        if self._encoder is None:
            return self._prepare(self._reader.frame(rows))
        return _Prepared(self._encoder.encode(rows), self._rules.broken_by(rows))

    def _prepare(self, frame: pl.DataFrame) -> _Prepared:
        derived = derive(frame, self._contract) if self._contract.derived else frame
        arrays = self.bundle.feature_set.encode(derived)
        self._refuse_infinite(arrays)
        return _Prepared(arrays, self._rules.broken(derived))

    def _refuse_infinite(self, arrays: FeatureArrays) -> None:
        infinite = np.isinf(arrays.numeric)
        if infinite.any():
            column = int(np.argwhere(infinite)[0][1])
            raise UnscorableRow(
                f"Column {self.bundle.feature_set.numeric[column]!r} has an infinite value, or one "
                f"beyond 3.4e38 ({int(infinite.sum())} such values). Validate the table first: "
                "whitecrow validate sets such rows aside."
            )

    def _score(self, prepared: _Prepared, *, with_reasons: bool) -> ScoredBatch:
        arrays = prepared.arrays
        logits = self.model.logits(arrays.numeric, arrays.categorical)
        _refuse_overflow(logits)
        risk_score, decision = self.policy.decide(logits)
        for mask in prepared.broken.values():
            decision[mask] = np.maximum(decision[mask], REVIEW)
        stopped = np.flatnonzero(decision) if with_reasons else np.empty(0, dtype=np.int64)
        return ScoredBatch(
            logits=logits,
            risk_score=risk_score,
            decision=decision,
            flags=self._flags(prepared),
            reasons=self._explain(arrays, risk_score, stopped),
            arrays=arrays,
        )

    def _explain(
        self,
        arrays: FeatureArrays,
        risk_score: NDArray[np.float64],
        stopped: NDArray[np.int64],
    ) -> dict[int, tuple[Reason, ...]]:
        if not len(stopped):
            return {}
        part = FeatureArrays(arrays.numeric[stopped], arrays.categorical[stopped])
        return dict(
            zip(stopped.tolist(), self._reasons.find(part, risk_score[stopped]), strict=True)
        )

    def _flags(self, prepared: _Prepared) -> dict[int, tuple[str, ...]]:
        flags: dict[int, tuple[str, ...]] = {}
        unknown = self.bundle.feature_set.unknown_categories(prepared.arrays)
        raised = {f"unknown_category:{name}": mask for name, mask in unknown.items()}
        for flag, mask in (raised | prepared.broken).items():
            for at in np.flatnonzero(mask).tolist():
                flags[at] = (*flags.get(at, ()), flag)
        return flags

    def _row(self, batch: ScoredBatch, at: int, row_id: str | None) -> ScoredRow:
        risk_score = batch.risk_score[at : at + 1]
        alerts = self.policy.score_map.alerts_per_day_at(risk_score)
        return ScoredRow(
            id=row_id,
            risk_score=float(risk_score[0]),
            decision=DECISION_NAMES[batch.decision[at]],
            reasons=batch.reasons.get(at, ()),
            flags=batch.flags.get(at, ()),
            false_positive_rate=float(self.policy.score_map.false_positive_rate_at(risk_score)[0]),
            alerts_per_day=None if alerts is None else float(alerts[0]),
        )

    def _risk_of(
        self, numeric: NDArray[np.float32], categorical: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        return self.policy.risk_score(self.model.logits(numeric, categorical))


def _refuse_overflow(logits: NDArray[np.float32]) -> None:
    n_overflown = int((~np.isfinite(logits)).any(axis=1).sum())
    if n_overflown:
        raise UnscorableRow(
            f"{n_overflown} row(s) hold numbers too far out for the network: their scores "
            "overflow. Set bounds in [expectations] and validate the table first."
        )


def _joined(parts: Sequence[ScoredBatch]) -> ScoredBatch:
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
    )


def _renumbered(parts: Sequence[dict[int, T]], starts: Sequence[int]) -> dict[int, T]:
    """Return what the parts say of their rows, by the numbers of the whole table's rows."""
    return {
        start + at: value
        for part, start in zip(parts, starts, strict=False)
        for at, value in part.items()
    }

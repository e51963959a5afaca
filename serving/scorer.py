"""The scorer: rows to decisions, the same function in evaluation, batch and HTTP."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import repeat
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from balancing.calibration.policy import Policy
from balancing.calibration.thresholds import REVIEW
from balancing.inference import OnnxModel
from features.feature_set import FeatureArrays
from features.segments import SegmentArray
from serving.answer_shapes import ModelName, Reason
from serving.bundle import ModelBundle
from serving.prepared_rows import PreparedRows, RowPreparer, VelocityMatrix, one_by_one
from serving.reasons import ReasonFinder
from serving.refusals import RequestRefused
from serving.request_fields import RequestField
from serving.request_json import Body
from serving.request_trace import finish_stage
from serving.requests import RowReader, TypedRow
from serving.row_rulings import RowRulings
from serving.scored import (
    ScoredBatch,
    ScoredRow,
    UnscorableRow,
    joined,
    refuse_overflow,
    scored_rows,
)

_ROWS_AT_ONCE = 1 << 15


class Scorer:
    """One model with one policy.

    Args:
        bundle: A verified bundle.
        policy: A policy made for that bundle's model.
        model_version: Version of the bundle, as the answers name it.
        policy_version: Version of the policy, as the answers name it.
        policy_key_id: The trusted key that signed the policy; None where none is trusted.
        model: The bundle's network, where it is loaded already.
        threads: Parts of a table that are scored at the same time, each on a thread of its own.

    Attributes:
        model_name: What answers name the model by.
        preparer: Makes rows ready for :meth:`score_prepared`.
        rules: Have the last word on rows of requests, in a service; never on tables.

    Raises:
        PolicyMismatch: If the policy was made for another model, or decides by what its rows do
            not have.
    """

    def __init__(
        self,
        bundle: ModelBundle,
        policy: Policy,
        *,
        model_version: str,
        policy_version: str,
        policy_key_id: str | None = None,
        model: OnnxModel | None = None,
        threads: int = 1,
    ) -> None:
        policy.verify(bundle.model_sha256)
        self.bundle = bundle
        self.policy = policy
        self.model_version = model_version
        self.policy_version = policy_version
        self.policy_key_id = policy_key_id
        self.model_name = ModelName(bundle.manifest.name, model_version, policy_version)
        self.model = model or OnnxModel(bundle.model)
        self.rules: RowRulings | None = None
        self._threads = threads
        self._contract = bundle.contract
        self._reader = RowReader(self._contract, bundle.feature_set.input_types)
        self.preparer = RowPreparer(bundle.feature_set, self._reader, policy)
        self._reasons = ReasonFinder(
            bundle.feature_set,
            self._contract,
            bundle.benign,
            # Not a method of this object: a circle of references would outlive a swapped model.
            partial(_risk_of, policy, self.model),
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

        Where the contract declares features over time, the table has them as columns
        (:func:`features.velocity_table.add_velocity`).
        A row's answer does not depend on the part of the table that it falls into.
        """
        score = partial(self._score_part, with_reasons=with_reasons)
        parts = [frame.slice(at, _ROWS_AT_ONCE) for at in range(0, frame.height, _ROWS_AT_ONCE)]
        if len(parts) <= 1:
            return score(frame)
        with ThreadPoolExecutor(self._threads) as pool:
            return joined(list(pool.map(score, parts)))

    def read_rows(self, rows: Sequence[Mapping[str, Any]]) -> list[TypedRow | RequestRefused]:
        """Return each row of a request as the contract types it, or its refusal."""
        return [self._read(row) for row in rows]

    def read_body(self, body: Body) -> TypedRow:
        """Return the row of one request's body as the contract types it.

        Raises:
            RequestRefused: If it is no JSON object, or not as the contract wants it.
        """
        return self._reader.read_body(body)

    def read_bodies(self, bodies: Sequence[Body]) -> list[TypedRow | RequestRefused]:
        """Return each row of a batch as the contract types it, or its refusal."""
        return self._reader.read_bodies(bodies)

    def score_rows(
        self, rows: Sequence[Mapping[str, Any]], velocity: VelocityMatrix | None = None
    ) -> list[ScoredRow | RequestRefused]:
        """Score rows of a request, each on its own; a bad row yields its refusal.

        Args:
            rows: As clients send them.
            velocity: Features over time of each row, where the contract declares any.
        """
        outcomes: list[Any] = self.read_rows(rows)
        good = [at for at, outcome in enumerate(outcomes) if isinstance(outcome, dict)]
        if good:
            typed = [outcomes[at] for at in good]
            of_good = None if velocity is None else velocity[good]
            for at, outcome in zip(good, self.score_typed(typed, of_good), strict=True):
                outcomes[at] = outcome
        return outcomes

    def score_typed(
        self,
        rows: Sequence[TypedRow],
        velocity: VelocityMatrix | None = None,
        *,
        at_least_review: bool = False,
    ) -> list[ScoredRow | RequestRefused]:
        """Score rows that :meth:`read_rows` typed; numbers too far out yield a refusal.

        Args:
            rows: At least one.
            velocity: Features over time of each row, where the contract declares any.
            at_least_review: Whether to approve none of them.
        """
        try:
            prepared = self.preparer.of_rows(rows, velocity)
            finish_stage("features")
            batch = self.score_prepared(
                prepared, with_reasons=True, at_least_review=at_least_review
            )
        except UnscorableRow:
            if len(rows) == 1:
                return [RequestRefused("out_of_range", "A number is too far out to be scored.")]
            return one_by_one(
                partial(self.score_typed, at_least_review=at_least_review), rows, velocity
            )
        name = self._contract.columns.id
        ids = repeat(None) if name is None else [row.get(name) for row in rows]
        scored = scored_rows(batch, ids, self.policy.score_map)
        if self.rules is None:
            return list(scored)
        return self.rules.apply(rows, scored, at_least_review=at_least_review)

    def decide_typed(
        self, rows: Sequence[TypedRow], velocity: VelocityMatrix | None = None
    ) -> ScoredBatch:
        """Score rows that :meth:`read_rows` typed and return all but the reasons.

        Args:
            rows: At least one.
            velocity: Features over time of each row, where the contract declares any.

        Raises:
            UnscorableRow: If a row holds a number that no network can work with.
        """
        return self.score_prepared(self.preparer.of_rows(rows, velocity), with_reasons=False)

    def score_requests(
        self, rows: Sequence[Mapping[str, Any]], velocity: VelocityMatrix | None = None
    ) -> ScoredBatch:
        """Score rows of a request as :meth:`score_rows` does, and return all that was computed.

        Raises:
            RequestRefused: If a row is not fit to be scored.
        """
        typed = [self._reader.read(row) for row in rows]
        return self.decide_typed(typed, velocity)

    def decide_logits(
        self, prepared: PreparedRows, logits: NDArray[np.float32], *, at_least_review: bool = False
    ) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
        """Return scores and decisions of rows with these logits.

        Shape:
            ``(n, 2)`` logits -> ``(n,)`` each.
        """
        risk_score, decision = self.policy.decide(
            logits, amount_minor=prepared.amount_minor, segment=prepared.segment
        )
        for mask in prepared.broken.values():
            decision[mask] = np.maximum(decision[mask], REVIEW)
        return risk_score, np.maximum(decision, REVIEW) if at_least_review else decision

    def _read(self, row: Mapping[str, Any]) -> TypedRow | RequestRefused:
        try:
            return self._reader.read(row)
        except RequestRefused as refusal:
            return refusal

    def _score_part(self, frame: pl.DataFrame, *, with_reasons: bool) -> ScoredBatch:
        return self.score_prepared(self.preparer.of_table(frame), with_reasons=with_reasons)

    def score_prepared(
        self, prepared: PreparedRows, *, with_reasons: bool, at_least_review: bool = False
    ) -> ScoredBatch:
        """Score rows that :attr:`preparer` made ready.

        Raises:
            UnscorableRow: If a number is too far out for the network.
        """
        arrays = prepared.arrays
        logits = self.model.logits(arrays.numeric, arrays.categorical)
        refuse_overflow(logits)
        risk_score, decision = self.decide_logits(prepared, logits, at_least_review=at_least_review)
        finish_stage("model")
        stopped = decision.nonzero()[0] if with_reasons else np.empty(0, dtype=np.int64)
        reasons = self._explain(prepared, risk_score, stopped)
        finish_stage("reasons")
        return ScoredBatch(
            logits=logits,
            risk_score=risk_score,
            decision=decision,
            flags=self._flags(prepared),
            reasons=reasons,
            arrays=arrays,
            amount_minor=prepared.amount_minor,
            segment=prepared.segment,
        )

    def _explain(
        self,
        prepared: PreparedRows,
        risk_score: NDArray[np.float64],
        stopped: NDArray[np.int64],
    ) -> dict[int, tuple[Reason, ...]]:
        if not len(stopped):
            return {}
        arrays, segment = prepared.arrays, prepared.segment
        found = self._reasons.find(
            FeatureArrays(arrays.numeric[stopped], arrays.categorical[stopped]),
            risk_score[stopped],
            None if segment is None else segment[stopped],
        )
        return dict(zip(stopped.tolist(), found, strict=True))

    def _flags(self, prepared: PreparedRows) -> dict[int, tuple[str, ...]]:
        flags: dict[int, tuple[str, ...]] = {}
        is_known = not prepared.arrays.categorical.size
        if is_known and not prepared.broken:
            return flags
        unknown = {} if is_known else self.bundle.feature_set.unknown_categories(prepared.arrays)
        raised = {f"unknown_category:{name}": mask for name, mask in unknown.items()}
        for flag, mask in (raised | prepared.broken).items():
            for at in np.flatnonzero(mask).tolist():
                flags[at] = (*flags.get(at, ()), flag)
        return flags


def _risk_of(
    policy: Policy,
    model: OnnxModel,
    numeric: NDArray[np.float32],
    categorical: NDArray[np.int64],
    segment: SegmentArray | None,
) -> NDArray[np.float64]:
    return policy.risk_score(model.logits(numeric, categorical), segment)

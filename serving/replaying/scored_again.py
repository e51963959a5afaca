"""Rows of one model scored again: by their logged logits, and by their logged features."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from features.feature_set import FeatureArrays
from serving.replaying.comparison import Comparison, compare_features
from serving.replaying.decided_again import AnswerMaker
from serving.replaying.erased_rows import ErasedRows
from serving.replaying.logged import LoggedDecision, arrays_of, logits_of
from serving.scored import ScoredBatch, ScoredRow, scored_rows
from serving.scorer import Scorer


@dataclass(frozen=True, slots=True)
class PastModel:
    """A model that decided, ready to decide again.

    Attributes:
        scorer: The model and its policy.
        answers: Makes answers of its scores.
        erased: Prepares rows that nobody can read any more.
        n_velocity: Features over time, the last of the numeric ones.
    """

    scorer: Scorer
    answers: AnswerMaker
    erased: ErasedRows
    n_velocity: int


@dataclass(frozen=True, slots=True)
class ScoredAgain:
    """Rows as they are scored again.

    Attributes:
        by_logits: From the logged logits.
        by_features: From the logged features; None where some of them are sealed.
        computed: The features as computed from the rows; None without the rows.
        logged: The features as they are logged.
        is_other: Which rows have computed features that differ from the logged ones.
    """

    by_logits: list[ScoredRow]
    by_features: list[ScoredRow] | None
    computed: FeatureArrays | None
    logged: FeatureArrays
    is_other: NDArray[np.bool_]


def score_again(
    model: PastModel,
    decisions: Sequence[LoggedDecision],
    *,
    is_erased: bool,
    at_least_review: bool,
) -> ScoredAgain:
    """Score decisions again that were made in one way.

    Args:
        model: What decided.
        decisions: Its decisions.
        is_erased: Whether the keys of their subjects were destroyed.
        at_least_review: Whether the online state was away.
    """
    scorer, feature_set = model.scorer, model.scorer.bundle.feature_set
    logged = arrays_of(
        decisions, n_numeric=len(feature_set.numeric), n_categorical=len(feature_set.categorical)
    )
    if is_erased:
        prepared, computed = model.erased.prepared(decisions, logged), None
    else:
        n_own = len(feature_set.numeric) - model.n_velocity
        velocity = logged.numeric[:, n_own:].astype(np.float64) if model.n_velocity else None
        prepared = scorer.preparer.of_rows([dict(each.row) for each in decisions], velocity)
        prepared, computed = replace(prepared, arrays=logged), prepared.arrays
    logits = logits_of(decisions)
    score, decision = scorer.decide_logits(prepared, logits, at_least_review=at_least_review)
    by_logits = ScoredBatch(logits, score, decision, {}, {}, logged)
    by_features = None
    if not (is_erased and model.erased.sealed_features):
        batch = scorer.score_prepared(prepared, with_reasons=True, at_least_review=at_least_review)
        by_logits = replace(by_logits, flags=batch.flags)
        by_features = _rows(scorer, batch)
    return ScoredAgain(
        _rows(scorer, by_logits), by_features, computed, logged, _is_other(computed, logged)
    )


def _is_other(computed: FeatureArrays | None, logged: FeatureArrays) -> NDArray[np.bool_]:
    if computed is None:
        return np.zeros(len(logged.numeric), dtype=bool)
    same = (computed.numeric == logged.numeric) | (
        np.isnan(computed.numeric) & np.isnan(logged.numeric)
    )
    other_codes = (computed.categorical != logged.categorical).any(axis=1)
    is_other: NDArray[np.bool_] = ~same.all(axis=1) | other_codes
    return is_other


def _rows(scorer: Scorer, batch: ScoredBatch) -> list[ScoredRow]:
    return scored_rows(batch, repeat(None), scorer.policy.score_map)


def compare_own_features(
    scorer: Scorer, decision: LoggedDecision, again: ScoredAgain, at: int
) -> Comparison:
    """Compare the features that come from the row itself, computed again from the logged row."""
    if again.computed is None:
        return Comparison(missing=(f"the row: {decision.why_sealed}",))
    if not again.is_other[at]:
        return Comparison()
    names = scorer.bundle.feature_set
    computed, logged = again.computed, again.logged
    different = (
        *compare_features(names.numeric, logged.numeric[at], computed.numeric[at]),
        *compare_features(names.categorical, logged.categorical[at], computed.categorical[at]),
    )
    return Comparison(
        differences=tuple(f"{name}: the row gives another value" for name in different)
    )

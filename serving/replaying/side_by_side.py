"""A replayed decision as JSON values: what was logged beside what the replay gives."""

from typing import Any

from features.feature_set import FeatureArrays
from features.online.events import moment_of
from serving.answer_shapes import Answer, Reason
from serving.decisions.personal_features import personal_features
from serving.replaying.comparison import Comparison
from serving.replaying.logged import arrays_of
from serving.replaying.replayer import ReplayedDecision
from serving.scored import ScoredRow
from serving.scorer import Scorer


def to_json(replayed: ReplayedDecision, *, platform: str) -> dict[str, Any]:
    """Return a replayed decision; features that tell something personal are left out.

    Args:
        replayed: What the replay gave.
        platform: Where it ran.
    """
    stored, answer = replayed.decision.stored, replayed.decision.answer
    return {
        "decision_id": stored.decision_id,
        "writer_id": replayed.decision.writer_id,
        "sequence": stored.sequence,
        "received_at": moment_of(stored.received_at).isoformat(timespec="microseconds"),
        "model": {
            "name": answer.model.name,
            "version": answer.model.version,
            "policy_version": answer.model.policy_version,
        },
        "degraded": stored.is_degraded,
        "verdict": replayed.verdict,
        "platform": {
            "logged": stored.head.platform or None,
            "here": platform,
            "same": replayed.is_same_platform,
        },
        "levels": {
            "features": _level(replayed.features),
            "from_logits": _level(replayed.from_logits),
            "from_features": _level(replayed.from_features),
        },
        "logged": {
            "features": _logged_features(replayed),
            "logits": list(stored.logits),
            **_said(answer),
        },
        "from_row": {"features": _own_features(replayed)},
        "from_logits": None if replayed.by_logits is None else _said(replayed.by_logits, False),
        "from_features": None
        if replayed.by_features is None
        else {"logits": list(replayed.by_features.logits), **_said(replayed.by_features)},
    }


def _level(found: Comparison) -> dict[str, Any]:
    return {
        "verdict": found.verdict,
        "largest_difference": found.largest_difference,
        "differences": list(found.differences),
        "missing": list(found.missing),
    }


def _said(said: Answer | ScoredRow, with_reasons: bool = True) -> dict[str, Any]:
    found: dict[str, Any] = {
        "risk_score": said.risk_score,
        "decision": said.decision,
        "flags": list(said.flags),
    }
    if with_reasons:
        found["reasons"] = [_reason(each) for each in said.reasons]
    return found


def _reason(reason: Reason) -> dict[str, Any]:
    return {"column": reason.column, "text": reason.text, "effect": reason.effect}


def _logged_features(replayed: ReplayedDecision) -> dict[str, Any] | None:
    scorer = replayed.scorer
    if scorer is None:
        return None
    names = scorer.bundle.feature_set
    arrays = arrays_of(
        [replayed.decision],
        n_numeric=len(names.numeric),
        n_categorical=len(names.categorical),
    )
    return _by_name(arrays, scorer)


def _own_features(replayed: ReplayedDecision) -> dict[str, Any] | None:
    """Return the features that come from the row itself; those over time do not."""
    scorer, arrays = replayed.scorer, replayed.arrays
    if scorer is None or arrays is None:
        return None
    over_time = set(scorer.bundle.contract.velocity_features)
    return {
        name: value for name, value in _by_name(arrays, scorer).items() if name not in over_time
    }


def _by_name(arrays: FeatureArrays, scorer: Scorer) -> dict[str, Any]:
    feature_set = scorer.bundle.feature_set
    personal = personal_features(scorer.bundle.contract)
    numbers = dict(zip(feature_set.numeric, arrays.numeric[0].tolist(), strict=True))
    codes = dict(zip(feature_set.categorical, arrays.categorical[0].tolist(), strict=True))
    found: dict[str, Any] = {
        name: None if value != value else value  # noqa: PLR0124 - NaN
        for name, value in numbers.items()
    }
    found |= {name: feature_set.vocabularies[name].decode(code) for name, code in codes.items()}
    return {name: value for name, value in found.items() if name not in personal}

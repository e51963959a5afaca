"""What a challenger said in the shadow of live traffic, beside what was answered."""

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from balancing.metrics.intervals import Interval
from balancing.metrics.loss_intervals import mean_interval
from infra.settings import Settings
from serving.decisions.export import decisions_of
from serving.decisions.opening import open_store
from serving.model_references import ResolvedModel
from serving.shadow_log import read_shadow_decisions

_EARLIER = timedelta(days=1)
"""The day that the log files a decision under may be one off the shadow's clock."""


@dataclass(frozen=True, slots=True)
class ShadowEvidence:
    """Decisions on the same live rows.

    Attributes:
        decisions: Rows that both decided.
        disagreement: Share of them that the challenger decides otherwise, with its interval.
        kinds: How often which decision (live, shadow) was met by which other one.
        since: Oldest of them, ISO 8601.
        until: Newest of them.
    """

    decisions: int
    disagreement: Interval
    kinds: dict[str, int]
    since: str
    until: str


def shadow_evidence(
    settings: Settings, challenger: ResolvedModel, *, confidence: float, seed: int
) -> ShadowEvidence | None:
    """Return what the challenger said of live rows; None where it was in nobody's shadow.

    The live decision is the one that was answered, hard rules and all.

    Args:
        settings: Name both logs.
        challenger: Whose decisions.
        confidence: Of the interval.
        seed: Same seed, same interval.

    Raises:
        StateUnavailable: If the shadow log cannot be read.
        LogUnreachable: If the decision log does not answer.
    """
    shadow = read_shadow_decisions(
        settings.root / "shadow.db",
        settings.log_uri,
        model=challenger.name,
        model_version=challenger.model_version,
        policy_version=challenger.policy_version,
    )
    if not shadow:
        return None
    moments = [datetime.fromtimestamp(each.scored_at / 1e6, tz=UTC) for each in shadow.values()]
    live = _live_decisions(settings, set(shadow), min(moments))
    pairs = [(decision, shadow[key].decision) for key, decision in live.items()]
    if not pairs:
        return None
    differs = [float(one != other) for one, other in pairs]
    kinds = Counter(f"{one} → {other}" for one, other in pairs if one != other)
    return ShadowEvidence(
        decisions=len(pairs),
        disagreement=mean_interval(differs, confidence=confidence, seed=seed),
        kinds=dict(kinds.most_common()),
        since=min(moments).isoformat(timespec="seconds"),
        until=max(moments).isoformat(timespec="seconds"),
    )


def _live_decisions(settings: Settings, wanted: set[str], since: datetime) -> dict[str, str]:
    """Return what was answered to the rows of some decisions, by their ids."""
    store = open_store(settings)
    try:
        groups = store.groups(first_segment=(since - _EARLIER).date().isoformat())
        return {
            record.stored.decision_id: record.answer.decision
            for record in decisions_of(groups, store.feature_names())
            if record.stored.decision_id in wanted
        }
    finally:
        store.close()

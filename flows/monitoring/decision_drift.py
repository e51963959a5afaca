"""Whether scores and decisions still fall as they did, and how many alerts a day there are."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from balancing.calibration.policy import Policy
from balancing.calibration.thresholds import APPROVE, DECISION_NAMES
from balancing.metrics.cells import FloatArray
from balancing.metrics.drift import Drift, numeric_drift
from balancing.metrics.intervals import Interval
from balancing.metrics.period import period_days
from balancing.metrics.proportions import count_interval, share_interval
from flows.monitoring.decided_rows import Spans
from infra.objectives import AlertBudgetObjective

_MOST_COMPARED = 10_000
_DAY_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class DecisionShare:
    """How often a decision was made.

    Attributes:
        decision: Its name.
        rows: How many there were.
        share: Their share of the rows.
        reference: Their share of the reference's rows; NaN without any.
    """

    decision: str
    rows: int
    share: Interval
    reference: Interval


@dataclass(frozen=True, slots=True)
class AlertVolume:
    """Rows reviewed or declined.

    Attributes:
        rows: Of the window.
        alerts: Those reviewed or declined.
        days: Days that rows were seen on; None where rows carry no time.
        per_day: Alerts a day; NaN where the days are unknown.
        expected_per_day: What the policy was made for; None where nobody knows.
        expected_says: Where that comes from, as a person reads it.
    """

    rows: int
    alerts: int
    days: float | None
    per_day: Interval
    expected_per_day: float | None
    expected_says: str

    @property
    def ratio(self) -> Interval:
        """Alerts a day over what is expected; NaN where that is not known."""
        if not self.expected_per_day:
            return Interval(np.nan, np.nan, np.nan)
        each = self.per_day
        return Interval(*(end / self.expected_per_day for end in (each.value, each.low, each.high)))


def score_drift(window: pl.DataFrame, reference: pl.DataFrame, *, min_rows: int) -> Drift | None:
    """Return how far risk scores have moved; None with too few rows on a side."""
    if min(window.height, reference.height) < min_rows:
        return None
    return numeric_drift(_sampled(reference), _sampled(window))


def decision_shares(window: pl.DataFrame, reference: pl.DataFrame) -> list[DecisionShare]:
    """Return how often each decision was made, as it would be without exploration."""
    return [
        DecisionShare(
            name,
            int((window["decision"] == code).sum()),
            share_interval((window["decision"] == code).to_numpy()),
            share_interval((reference["decision"] == code).to_numpy()),
        )
        for code, name in enumerate(DECISION_NAMES)
    ]


def alert_volume(window: pl.DataFrame, policy: Policy, spans: Spans | None) -> AlertVolume:
    """Return the alerts of the window, a day where rows carry time."""
    alerts = int((window["decision"] != APPROVE).sum())
    days = None if spans is None else _days(window, spans)
    count = count_interval(alerts)
    ends = [np.nan if not days else end / days for end in (count.value, count.low, count.high)]
    expected, says = _expected(policy)
    return AlertVolume(window.height, alerts, days, Interval(*ends), expected, says)


def _days(window: pl.DataFrame, spans: Spans) -> float | None:
    """Return how long rows were seen for: a window that is older than its log is no quiet time."""
    covered = period_days(window["happened_at"].to_numpy())
    asked = (spans.until - spans.since).total_seconds() / _DAY_SECONDS
    return asked if covered is None else min(covered, asked)


def _expected(policy: Policy) -> tuple[float | None, str]:
    review = policy.thresholds.review
    if isinstance(review.objective, AlertBudgetObjective):
        return review.objective.alerts_per_day, "the policy's budget"
    achieved = review.achieved.alerts_per_day
    if achieved is None:
        return None, "nothing: the policy knows no rows a day"
    return achieved, "what the policy gave on the rows that it was fitted on"


def _sampled(rows: pl.DataFrame) -> FloatArray:
    """Return scores, no more than decide the matter."""
    n_kept = min(rows.height, _MOST_COMPARED)
    return rows["risk_score"].sample(n_kept, seed=0).to_numpy()

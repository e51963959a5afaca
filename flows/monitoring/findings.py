"""Findings: figures that went too far to be chance, and what each calls for.

An effect is a finding when it reaches a limit and chance alone is no explanation: adjusted p-values
for columns, intervals for shares. Of two figures with intervals the difference is taken to be real
where the ends combined say so (Zou and Donner, 2008).
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from math import isnan, sqrt
from typing import Any

from balancing.metrics.intervals import Interval
from flows.monitoring.config import Action, Limit, Limits, MonitorConfig
from flows.monitoring.decision_drift import AlertVolume, DecisionShare
from flows.monitoring.input_drift import ColumnDrift
from flows.monitoring.performance import Performance

ACTIONS: tuple[Action, ...] = ("none", "notify", "retrain")
"""From nothing to the most."""

_CHANCE = 0.05


@dataclass(frozen=True, slots=True)
class Finding:
    """One figure that went too far.

    Attributes:
        metric: Name of its limit (:class:`flows.monitoring.config.Limits`).
        about: Column, segment or version; the model where it is about all rows.
        value: The figure that the limit is of.
        low: Lower end of its 95 % interval; None without one.
        high: Upper end.
        limit: The limit that it reached.
        action: What it calls for.
        is_estimate: Whether it rests on scores alone, before labels are known.
        says: The finding in one sentence.
    """

    metric: str
    about: str
    value: float
    low: float | None
    high: float | None
    limit: float
    action: Action
    is_estimate: bool
    says: str

    def to_json(self) -> dict[str, Any]:
        """Return the finding as JSON values."""
        return asdict(self)


def strongest(findings: Iterable[Finding]) -> Action:
    """Return what findings together call for."""
    return max((each.action for each in findings), key=ACTIONS.index, default="none")


def column_findings(columns: Iterable[ColumnDrift], config: MonitorConfig) -> list[Finding]:
    """Return what is to be said of inputs."""
    limits, chance, found = config.limits, config.false_discoveries, []
    for each in columns:
        index, p_value = each.stability_index, each.p_value
        if index is not None and p_value is not None and p_value < chance:
            says = f"{each.column} has moved: stability index {index:.3f}."
            found += _finding("column_drift", limits.column_drift, each.column, index, says)
        if each.missing_p_value < chance:
            rise = each.missing - each.reference_missing
            says = _risen(f"{each.column} is missing", each.reference_missing, each.missing)
            found += _finding("missing_rise", limits.missing_rise, each.column, rise, says)
        if (
            each.unseen is not None
            and each.reference_unseen is not None
            and each.unseen_p_value is not None
            and each.unseen_p_value < chance
        ):
            rise = each.unseen - each.reference_unseen
            what = f"{each.column} has a category unknown from training"
            says = _risen(what, each.reference_unseen, each.unseen)
            found += _finding("unseen_rise", limits.unseen_rise, each.column, rise, says)
    return found


def decision_findings(
    drift: tuple[float, float] | None,
    shares: Iterable[DecisionShare],
    volume: AlertVolume,
    config: MonitorConfig,
    about: str,
) -> list[Finding]:
    """Return what is to be said of scores, decisions and alerts.

    Args:
        drift: Stability index of the score and its p-value; None with too few rows.
        shares: Of each decision.
        volume: Alerts a day.
        config: Its limits, and how many rows are enough.
        about: The model.
    """
    limits, found = config.limits, list[Finding]()
    if drift is not None and drift[1] < _CHANCE:
        says = f"Risk scores have moved: stability index {drift[0]:.3f}."
        found += _finding("score_drift", limits.score_drift, about, drift[0], says)
    for each in shares:
        change = abs(each.share.value - each.reference.value)
        if drift is not None and _differ(each.share, each.reference):
            what = f"Decision {each.decision} is made"
            says = _risen(what, each.reference.value, each.share.value)
            name = f"{about}: {each.decision}"
            found += _finding("decision_shift", limits.decision_shift, name, change, says)
    ratio = volume.ratio
    if ratio.low > 1 and volume.rows >= config.min_rows:
        says = (
            f"{volume.per_day.value:,.1f} alerts a day instead of {volume.expected_per_day:,.1f}, "
            f"{volume.expected_says}."
        )
        found += _finding(
            "alert_volume", limits.alert_volume, about, ratio.value, says, interval=ratio
        )
    return found


def performance_findings(
    now: Performance, before: Performance, config: MonitorConfig
) -> list[Finding]:
    """Return what is to be said of a version: on matured labels, and estimated before them."""
    limits, found = config.limits, []
    realised, reference = now.judged, before.judged
    if realised is not None and reference is not None and _enough(now, before, config):
        for metric in ("average_precision", "precision", "recall"):
            figure, other = getattr(realised, metric), getattr(reference, metric)
            found += _loss(metric, getattr(limits, metric), now.about, figure, other)
    if now.calibration is not None and now.coverage.positives >= config.min_positives:
        found += _calibration_findings(now, limits)
    if (
        now.estimated is not None
        and before.estimated is not None
        and min(now.coverage.rows, before.coverage.rows) >= config.min_rows
    ):
        for metric in ("precision", "recall"):
            figure, other = getattr(now.estimated, metric), getattr(before.estimated, metric)
            name = f"estimated_{metric}"
            limit = getattr(limits, name)
            found += _loss(name, limit, now.about, figure, other, is_estimate=True)
    return found


def segment_findings(
    now: dict[tuple[str, str], Performance],
    before: dict[tuple[str, str], Performance],
    config: MonitorConfig,
) -> list[Finding]:
    """Return what is to be said of segments; a segment alone starts no retraining."""
    found: list[Finding] = []
    for key, part in now.items():
        other = before.get(key)
        if other is None or min(part.coverage.rows, other.coverage.rows) < config.min_rows:
            continue
        found += _segment_alerts(part, other, config.limits)
        if part.judged is None or other.judged is None or not _enough(part, other, config):
            continue
        for metric in ("precision", "recall"):
            limit = Limit(notify=getattr(config.limits, metric).notify)
            figures = getattr(part.judged, metric), getattr(other.judged, metric)
            found += _loss(metric, limit, part.about, *figures)
    return found


def _enough(now: Performance, before: Performance, config: MonitorConfig) -> bool:
    coverages = (now.coverage, before.coverage)
    return (
        min(each.positives for each in coverages) >= config.min_positives
        and min(each.labelled for each in coverages) >= config.min_rows
    )


def _segment_alerts(now: Performance, before: Performance, limits: Limits) -> list[Finding]:
    if not before.alert_rate.value or now.alert_rate.low <= before.alert_rate.high:
        return []
    ratio = now.alert_rate.value / before.alert_rate.value
    says = (
        f"{now.alert_rate.value:.2%} of the rows where {now.about} are alerts, "
        f"{before.alert_rate.value:.2%} before."
    )
    limit = Limit(notify=limits.segment_alerts.notify)
    return _finding("segment_alerts", limit, now.about, ratio, says)


def _calibration_findings(now: Performance, limits: Limits) -> list[Finding]:
    assert now.calibration is not None
    slope, error = now.calibration.slope, now.calibration.relative_error
    found = []
    if slope.high < 1 or slope.low > 1:
        how = "too bold" if slope.value < 1 else "too timid"
        says = f"Scores of {now.about} are {how}: calibration slope {slope}."
        away = abs(slope.value - 1)
        found += _finding("calibration_slope", limits.calibration_slope, now.about, away, says)
    limit = limits.calibration_error.notify
    if limit is not None and error.low >= limit:
        says = f"Scores of {now.about} are off by {error.value:.2g} times the share of positives."
        found += _finding(
            "calibration_error",
            limits.calibration_error,
            now.about,
            error.value,
            says,
            interval=error,
        )
    return found


def _loss(
    metric: str,
    limit: Limit,
    about: str,
    now: Interval,
    before: Interval,
    *,
    is_estimate: bool = False,
) -> list[Finding]:
    """Return the finding that a figure fell, if it did so far and not by chance."""
    if isnan(now.value) or not before.value > 0 or not _differ(now, before):
        return []
    lost = 1 - now.value / before.value
    words = metric.replace("_", " ")
    says = f"{words.capitalize()} of {about} fell from {before.value:.3f} to {now.value:.3f}."
    ends = Interval(lost, 1 - now.high / before.value, 1 - now.low / before.value)
    return _finding(metric, limit, about, lost, says, interval=ends, is_estimate=is_estimate)


def _finding(
    metric: str,
    limit: Limit,
    about: str,
    value: float,
    says: str,
    *,
    interval: Interval | None = None,
    is_estimate: bool = False,
) -> list[Finding]:
    reached = limit.reached(value)
    if reached is None:
        return []
    low, high = (None, None) if interval is None else (interval.low, interval.high)
    action = limit.action(value)
    return [Finding(metric, about, value, low, high, reached, action, is_estimate, says)]


def _differ(one: Interval, other: Interval) -> bool:
    """Return whether chance alone does not explain the difference of two figures."""
    higher, lower = (one, other) if one.value >= other.value else (other, one)
    margin = sqrt((higher.value - higher.low) ** 2 + (lower.high - lower.value) ** 2)
    return higher.value - lower.value > margin


def _risen(what: str, before: float, now: float) -> str:
    return f"{what} in {now:.2%} of the rows, {before:.2%} before."

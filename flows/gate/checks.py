"""The rule's checks: each says what it found, what the limit is, and whether that will do.

A check passes where the evidence is sure enough, fails where the figure itself is beyond the
limit, and is open between the two: the figure would do, but too few rows stand behind it.
"""

from dataclasses import dataclass
from typing import Any

from balancing.metrics.intervals import Interval
from flows.gate.evidence import Evidence, LabelledEvidence
from flows.gate.objective import Compared
from flows.gate.rule import GateRule
from flows.gate.segments import SegmentGain
from flows.impact import Impact


@dataclass(frozen=True, slots=True)
class Check:
    """One limit of the rule held against the evidence.

    Attributes:
        name: The rule's key.
        value: What was found; None where nothing was.
        interval: Its ends, low then high; None where it is no estimate.
        limit: What the rule wants.
        passed: True, False, or None where the evidence cannot tell.
        says: The finding in one sentence.
    """

    name: str
    value: float | None
    interval: tuple[float, float] | None
    limit: float
    passed: bool | None
    says: str

    def to_json(self) -> dict[str, Any]:
        """Return the check as JSON values."""
        return {name: getattr(self, name) for name in self.__slots__} | {
            "interval": None if self.interval is None else list(self.interval)
        }


def all_checks(evidence: Evidence, rule: GateRule) -> tuple[Check, ...]:
    """Return every check that the evidence allows, in the order of the rule's keys.

    Too few labelled rows leave open what rests on them; that is said once, by their number. No
    segment with enough positives, and no shadow, is nothing to check.
    """
    checks = [
        _enough("min_rows", evidence.rows, rule.min_rows, "labelled rows"),
        _enough("min_positives", evidence.positives, rule.min_positives, "positives"),
    ]
    if evidence.labelled is not None:
        checks += _on_labels(evidence.labelled, rule)
    if evidence.alerts is not None:
        checks.append(_alert_volume(evidence.alerts, evidence.budget, rule))
    if evidence.labelled is not None and evidence.labelled.segments:
        checks.append(_segments(evidence.labelled.segments, rule))
    checks.append(_latency(evidence, rule))
    if evidence.shadow is not None:
        checks.append(_disagreement(evidence, rule))
    return tuple(checks)


def _enough(name: str, found: int, needed: int, what: str) -> Check:
    enough = found >= needed
    return Check(
        name=name,
        value=found,
        interval=None,
        limit=needed,
        passed=True if enough else None,
        says=f"{found:,} {what} that neither version has seen"
        + ("" if enough else f"; at least {needed:,} are needed to judge"),
    )


def _on_labels(found: LabelledEvidence, rule: GateRule) -> list[Check]:
    gains = [
        _gain("min_average_precision_gain", found.average_precision, rule),
        _gain("min_objective_gain", found.objective, rule),
        _gain("min_caught_gain", found.caught, rule),
    ]
    return [*gains, _calibration(found, rule)]


def _gain(name: str, compared: Compared | None, rule: GateRule) -> Check:
    limit: float = getattr(rule, name)
    if compared is None:
        return Check(
            name, None, None, limit, None,
            "the objective of the champion's policy cannot be read on these rows",
        )  # fmt: skip
    gain = compared.gain
    return Check(
        name=name,
        value=known(gain.value),
        interval=_ends(gain),
        limit=limit,
        passed=_reaches(gain, limit),
        says=f"{compared.what}: {compared.challenger.value:.4g} against "
        f"{compared.champion.value:.4g}, a gain of {_signed(gain)}; "
        f"at least {limit:+g} with certainty is wanted",
    )


def _reaches(gain: Interval, limit: float) -> bool | None:
    if known(gain.value) is None or known(gain.low) is None:
        return None
    if gain.low >= limit:
        return True
    return False if gain.value < limit else None


def _calibration(found: LabelledEvidence, rule: GateRule) -> Check:
    old, new = found.champion_calibration.slope, found.challenger_calibration.slope
    limit = rule.max_calibration_slope_deviation
    allowed = limit if known(old.value) is None else max(limit, abs(old.value - 1))
    nearest = min(max(new.low, 1 - allowed), 1 + allowed)
    is_within_reach = new.low <= nearest <= new.high
    within = abs(new.value - 1) <= allowed
    return Check(
        name="max_calibration_slope_deviation",
        value=known(new.value),
        interval=_ends(new),
        limit=limit,
        passed=None if known(new.value) is None else within or (None if is_within_reach else False),
        says=f"calibration slope {new} against the champion's {old}; at most {limit:g} from 1, "
        "or no further than the champion's, is wanted",
    )


def _alert_volume(alerts: Impact, budget: float | None, rule: GateRule) -> Check:
    old, new = alerts.total.old, alerts.total.new
    assert old is not None
    if alerts.days is None:
        base, found, unit = float(old.alerts), float(new.alerts), "alerts"
    else:
        base, found = old.alerts / alerts.days, new.alerts / alerts.days
        base, unit = max(base, budget or 0.0), "alerts a day"
    ratio = found / base if base else None
    limit = rule.max_alert_volume_ratio
    return Check(
        name="max_alert_volume_ratio",
        value=ratio,
        interval=None,
        limit=limit,
        passed=None if ratio is None else ratio <= limit,
        says=f"{found:,.1f} {unit} against {base:,.1f} "
        + ("of the budget" if budget is not None and base == budget else "of the champion")
        + f"; at most {limit:g} times as many are wanted",
    )


def _segments(segments: tuple[SegmentGain, ...], rule: GateRule) -> Check:
    worst, limit = segments[0], rule.max_segment_loss
    lost = [one for one in segments if one.gain.high < 0 and -one.gain.value > limit]
    named = lost[0] if lost else worst
    return Check(
        name="max_segment_loss",
        value=0.0 - named.gain.value,
        interval=(0.0 - named.gain.high, 0.0 - named.gain.low),
        limit=limit,
        passed=not lost,
        says=f"of {len(segments)} segments {len(lost) or 'none'} certainly loses more than "
        f"{limit:g} of its positives; most in {named.words}: {named.challenger:.3g} caught against "
        f"{named.champion:.3g}",
    )


def _latency(evidence: Evidence, rule: GateRule) -> Check:
    found = evidence.latency
    return Check(
        name="max_latency_ratio",
        value=found.ratio,
        interval=None,
        limit=rule.max_latency_ratio,
        passed=found.ratio <= rule.max_latency_ratio,
        says=f"a single row takes {found.challenger:.0f} µs against {found.champion:.0f} µs; at "
        f"most {rule.max_latency_ratio:g} times as long is wanted",
    )


def _disagreement(evidence: Evidence, rule: GateRule) -> Check:
    assert evidence.shadow is not None
    found, limit = evidence.shadow, rule.max_disagreement
    share = found.disagreement
    is_enough = found.decisions >= rule.min_shadow_decisions
    return Check(
        name="max_disagreement",
        value=share.value,
        interval=_ends(share),
        limit=limit,
        passed=share.value <= limit if is_enough else None,
        says=f"{share.value:.2%} of {found.decisions:,} live decisions would have been others; "
        + (
            f"at most {limit:.0%} is wanted"
            if is_enough
            else f"at least {rule.min_shadow_decisions:,} are needed to judge"
        ),
    )


def known(value: float) -> float | None:
    """Return a figure, None in place of NaN."""
    return None if value != value else value  # noqa: PLR0124 - NaN


def _ends(interval: Interval) -> tuple[float, float] | None:
    if known(interval.low) is None or known(interval.high) is None:
        return None
    return interval.low, interval.high


def _signed(interval: Interval) -> str:
    return f"{interval.value:+.4g} [{interval.low:+.4g}, {interval.high:+.4g}]"

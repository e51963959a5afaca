"""The year in a few sentences, told from what happened and from its figures alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from balancing.metrics.intervals import Interval
from balancing.metrics.proportions import share_interval
from flows.year.comparison import FROZEN, RETRAINED, MonthFigures
from flows.year.plan import YearPlan
from flows.year.timeline import Happening, Timeline


@dataclass(frozen=True, slots=True)
class Chapter:
    """One thing that a reader wants to know first.

    Attributes:
        title: What it is about.
        says: How it went.
        pages: Pages that show it, by what they are.
    """

    title: str
    says: str
    pages: dict[str, str]


def detection(timeline: Timeline, plan: YearPlan) -> Happening | None:
    """Return the first look that found a loss on labels that may speak of the new fraud."""
    appeared = plan.begin(plan.new_fraud_month)
    for look in timeline.of("monitored"):
        if look.at - plan.label_delay > appeared and look.facts["losses"]:
            return look
    return None


def recovery(timeline: Timeline, plan: YearPlan) -> Happening | None:
    """Return the first promotion of a version that has learnt from rows of the new fraud's time."""
    appeared = plan.begin(plan.new_fraud_month)
    for promotion in timeline.of("promoted"):
        until = promotion.facts["fitted_until"]
        if until is not None and datetime.fromisoformat(until) > appeared:
            return promotion
    return None


def new_fraud_recall(months: Sequence[MonthFigures], way: str, among: range) -> Interval | None:
    """Return the recall of the new fraud of some months together; None where it did not occur."""
    chosen = [each for each in months if each.way == way and each.month in among]
    caught = sum(each.new_frauds_caught for each in chosen)
    total = sum(each.new_frauds for each in chosen)
    return share_interval(np.arange(total) < caught) if total else None


def told(timeline: Timeline, months: Sequence[MonthFigures], plan: YearPlan) -> tuple[Chapter, ...]:
    """Return the year as chapters, in order.

    Args:
        timeline: What happened.
        months: Figures of every way.
        plan: What was to happen.
    """
    return (
        _detected(timeline, plan),
        _recovered(timeline, months, plan),
        _refused(timeline),
        _rolled_back(timeline),
    )


def _detected(timeline: Timeline, plan: YearPlan) -> Chapter:
    look = detection(timeline, plan)
    title = "The new fraud detected"
    if look is None:
        return Chapter(title, "Monitoring found no loss on labels since it appeared.", {})
    appeared = plan.begin(plan.new_fraud_month)
    before = [each for each in timeline.of("monitored") if each.at < look.at]
    n_alarms = sum(bool(each.facts["losses"]) for each in before)
    says = (
        f"It appeared on {_day(appeared)}. Monitoring found the loss on {_day(look.at)}, at the "
        f"first of the month after its labels began to be in: {' '.join(look.facts['losses'])} "
        f"Of {len(before)} looks before, {n_alarms or 'none'} had found a loss on labels."
    )
    return Chapter(title, says, look.pages)


def _recovered(timeline: Timeline, months: Sequence[MonthFigures], plan: YearPlan) -> Chapter:
    title = "Recall recovered"
    promotion = recovery(timeline, plan)
    if promotion is None:
        says = "No version that has learnt from the new fraud's time was promoted."
        return Chapter(title, says, {})
    month = promotion.at.month
    before, after = range(plan.new_fraud_month, month), range(month, 13)
    parts = [
        f"{way}: {_share(new_fraud_recall(months, way, before))} before, "
        f"{_share(new_fraud_recall(months, way, after))} from then on"
        for way in (RETRAINED, FROZEN)
    ]
    says = (
        f"The gate promoted version {promotion.version} on {_day(promotion.at)}, the first whose "
        f"training rows reach past {_day(plan.begin(plan.new_fraud_month))}. Recall of the new "
        f"fraud, {'; '.join(parts)}."
    )
    return Chapter(title, says, promotion.pages)


def _refused(timeline: Timeline) -> Chapter:
    title = "A bad challenger refused"
    bad = [each for each in timeline.happenings if each.facts.get("flipped")]
    refused = [each for each in bad if each.kind == "refused"]
    if not refused:
        return Chapter(title, "No challenger with flipped labels came to a refusal.", {})
    says = f"Version {refused[0].version} on {_day(refused[0].at)}. {refused[0].says}"
    return Chapter(title, says, refused[0].pages)


def _rolled_back(timeline: Timeline) -> Chapter:
    title = "One rollback"
    found = timeline.of("rolled_back")
    if not found:
        return Chapter(title, "Nothing was rolled back.", {})
    facts = found[0].facts
    says = (
        f"{found[0].says} From {_day(found[0].at)} on version {facts['to']} answers again, "
        f"where {facts['from']} did."
    )
    return Chapter(title, says, found[0].pages)


def _share(found: Interval | None) -> str:
    return "–" if found is None else f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"


def _day(moment: datetime) -> str:
    return f"{moment.day} {moment:%B}"

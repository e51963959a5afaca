"""The year in a few sentences: what counts as detected, recovered, refused, taken back."""

from datetime import timedelta
from typing import Any

import pytest

from balancing.metrics.intervals import Interval
from flows.year.comparison import FROZEN, RETRAINED, MonthFigures
from flows.year.plan import YearPlan
from flows.year.story import detection, new_fraud_recall, recovery, told
from flows.year.timeline import Happening, Timeline

PLAN = YearPlan()
LOSS = "Recall of year:1 fell from 0.700 to 0.500."


def look(month: int, *losses: str) -> Happening:
    return Happening(PLAN.begin(month), "monitored", "Look.", "1", facts={"losses": list(losses)})


def promoted(month: int, version: str, fitted_until: str | None) -> Happening:
    facts: dict[str, Any] = {"fitted_until": fitted_until, "flipped": False}
    return Happening(PLAN.begin(month), "promoted", "Good enough.", version, facts=facts)


def timeline(*happenings: Happening) -> Timeline:
    first = Happening(PLAN.begin(4), "trained", "The first.", "1")
    return Timeline([first, *happenings])


def figures(month: int, way: str, new_frauds: int, caught: int) -> MonthFigures:
    nothing = Interval(0, 0, 0)
    return MonthFigures(
        month=month, way=way, rows=100, positives=10, average_precision=nothing, recall=nothing,
        precision=nothing, alerts_per_day=nothing, new_frauds=new_frauds,
        new_frauds_caught=caught, new_fraud_recall=None,
    )  # fmt: skip


def test_a_loss_before_labels_of_the_new_fraud_are_in_is_no_detection() -> None:
    """At the begin of August the newest labelled row is from the second of July."""
    year = timeline(look(6, LOSS), look(7, LOSS), look(8), look(9, LOSS), look(10, LOSS))
    found = detection(year, PLAN)

    assert found is not None
    assert found.at == PLAN.begin(9)
    assert detection(timeline(look(7, LOSS), look(9)), PLAN) is None


def test_a_promotion_recovers_only_with_rows_of_the_new_frauds_time() -> None:
    early = promoted(8, "4", "2025-06-20T00:00:00+00:00")
    late = promoted(9, "5", "2025-07-16T00:00:00+00:00")

    assert recovery(timeline(early, late), PLAN) == late
    assert recovery(timeline(early), PLAN) is None
    assert recovery(timeline(promoted(9, "5", None)), PLAN) is None


def test_recall_of_the_new_fraud_is_of_all_its_months_together() -> None:
    months = [
        figures(6, RETRAINED, 0, 0), figures(7, RETRAINED, 10, 1), figures(8, RETRAINED, 30, 9),
        figures(8, FROZEN, 30, 3),
    ]  # fmt: skip
    found = new_fraud_recall(months, RETRAINED, range(7, 9))

    assert found is not None
    assert found.value == pytest.approx(10 / 40)
    assert found.low < 0.25 < found.high
    assert new_fraud_recall(months, RETRAINED, range(4, 7)) is None


def test_a_year_is_told_from_what_happened() -> None:
    bad = Happening(
        PLAN.begin(10), "refused", "Keep the champion: worse.", "6", {"verdict": "gate.html"},
        {"flipped": True},
    )  # fmt: skip
    back = Happening(
        PLAN.begin(11) + timedelta(days=15), "rolled_back", "A person takes year:7 back.", "5",
        facts={"from": "7", "to": "5"},
    )  # fmt: skip
    year = timeline(
        look(8), look(9, LOSS), promoted(9, "5", "2025-07-16T00:00:00+00:00"), bad, back
    )
    months = [
        figures(month, way, 20, 2 if way == FROZEN or month < 9 else 16)
        for month in range(7, 13)
        for way in (RETRAINED, FROZEN)
    ]
    detected, recovered, refused, rolled_back = told(year, months, PLAN)

    assert "on 1 September" in detected.says
    assert LOSS in detected.says
    assert "Of 1 looks before, none" in detected.says
    assert "retrained: 0.10 [" in recovered.says
    assert "0.80 [" in recovered.says
    assert "worse" in refused.says
    assert refused.pages == {"verdict": "gate.html"}
    assert "version 5 answers again, where 7 did" in rolled_back.says
    assert year.live_at(PLAN.begin(9)) == "5"
    assert year.live_at(PLAN.begin(9) - timedelta(days=1)) == "1"


def test_what_did_not_happen_is_said_as_well() -> None:
    chapters = told(timeline(look(8), look(9)), [], PLAN)

    assert [each.says for each in chapters] == [
        "Monitoring found no loss on labels since it appeared.",
        "No version that has learnt from the new fraud's time was promoted.",
        "No challenger with flipped labels came to a refusal.",
        "Nothing was rolled back.",
    ]

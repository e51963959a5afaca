"""Three ways on the same rows: figures that can be counted by hand, and their page."""

import json
from datetime import timedelta

import polars as pl
import pytest

from balancing.metrics.intervals import Interval
from flows.year.comparison import (
    ALL_KNOWING,
    FROZEN,
    RETRAINED,
    WAYS,
    gains,
    mean_interval,
    monthly_figures,
)
from flows.year.outcome import YearOutcome, interval_in_words
from flows.year.page import write_page
from flows.year.plan import YearPlan
from flows.year.timeline import Happening, Timeline
from flows.year.world import NEW_FRAUD_CODE

DAYS = {6: 30, 7: 31}


def decided(month: int, alerts: dict[str, list[bool]], scenario: list[int]) -> pl.DataFrame:
    """Return four frauds and four genuine rows of a month; alerts score 0.9, others 0.1."""
    said = {f"alert of {way}": alerts[way] for way in WAYS}
    scores = {f"score of {way}": [0.9 if alert else 0.1 for alert in alerts[way]] for way in WAYS}
    label = [1 if code else 0 for code in scenario]
    return pl.DataFrame(
        {"month": [month] * 8, "label": label, "scenario": scenario} | said | scores,
        schema_overrides={"label": pl.Int8},
    )


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    """June: all alike. July: two new frauds that only the retrained model and the oracle catch."""
    june = [True, True, False, False, True, False, False, False]
    frozen = [True, True, False, False, False, False, False, False]
    caught = [True, True, True, True, False, False, False, False]
    new = NEW_FRAUD_CODE
    return pl.concat(
        [
            decided(6, dict.fromkeys(WAYS, june), [1, 2, 3, 3, 0, 0, 0, 0]),
            decided(
                7,
                {RETRAINED: caught, FROZEN: frozen, ALL_KNOWING: caught},
                [1, 2, new, new, 0, 0, 0, 0],
            ),
        ]
    )


def test_a_months_figures_are_of_all_its_rows(rows: pl.DataFrame) -> None:
    found = {(each.month, each.way): each for each in monthly_figures(rows, DAYS)}
    june, july = found[6, FROZEN], found[7, FROZEN]

    assert len(found) == 6
    assert (june.rows, june.positives) == (8, 4)
    assert june.recall.value == 0.5
    assert june.precision.value == pytest.approx(2 / 3)
    assert june.alerts_per_day.value == pytest.approx(3 / 30)
    assert june.new_fraud_recall is None
    assert july.new_fraud_recall is not None
    assert july.new_fraud_recall.value == 0
    assert (july.new_frauds, july.new_frauds_caught) == (2, 0)
    assert found[7, RETRAINED].recall.value == 1
    assert found[7, RETRAINED].average_precision.value == 1


def test_what_retraining_was_worth_is_paired(rows: pl.DataFrame) -> None:
    june, july = range(6, 7), range(7, 8)
    found = {(each.what, each.against): each for each in gains(rows, {"June": june, "July": july})}

    assert found["June", FROZEN].recall == Interval(0, 0, 0)
    assert found["July", FROZEN].recall.value == 0.5
    assert found["July", ALL_KNOWING].recall.value == 0
    assert found["July", FROZEN].average_precision.value > 0


def test_an_interval_of_a_mean_by_hand() -> None:
    """Values 0 and 1 in equal parts: deviation sqrt(1/3), over sqrt(4) rows."""
    found = mean_interval([0, 1, 0, 1])

    assert found.value == 0.5
    assert found.high - found.value == pytest.approx(1.96 * (1 / 3) ** 0.5 / 2)


def test_no_interval_is_a_dash() -> None:
    assert interval_in_words(None) == "–"
    assert interval_in_words(Interval(0.5, 0.25, 0.75)) == "0.500 [0.250, 0.750]"


@pytest.fixture
def outcome(rows: pl.DataFrame, tmp_path) -> YearOutcome:
    plan, timeline = YearPlan(), Timeline()
    middle = plan.begin(7) + timedelta(days=15)
    timeline.add(Happening(plan.begin(4), "trained", "The first.", "1", {"report": "a/b.html"}))
    timeline.add(
        Happening(
            plan.begin(7),
            "monitored",
            "<b>two</b> findings",
            "1",
            facts={"findings": {"recall": 2}, "losses": ["Recall fell."]},
        )
    )
    fitted = {"fitted_until": "2025-06-01T00:00:00+00:00"}
    timeline.add(Happening(plan.begin(7), "refused", "Not good enough.", "2"))
    timeline.add(Happening(plan.begin(7), "promoted", "Good enough.", "3", facts=fitted))
    timeline.add(Happening(middle, "rolled_back", "Back.", "1", facts={"from": "3", "to": "1"}))
    return YearOutcome(
        plan=plan,
        timeline=timeline,
        months=monthly_figures(rows, DAYS),
        gains=gains(rows, {"June": range(6, 7)}),
        coverage={
            "rows": 16, "decided": 16, "declined": 2, "declined_rows": 2, "share_of_decided": 1.0,
        },
        folder=tmp_path,
        seconds=12.3,
        processor_seconds=9.8,
    )  # fmt: skip


def test_the_page_shows_the_year_alone_and_escapes_what_it_tells(outcome: YearOutcome) -> None:
    write_page(outcome)
    page = outcome.page.read_text("utf-8")

    assert page.count("data:image/png;base64,") == 6
    assert "http" not in page
    assert "<script" not in page
    assert "&lt;b&gt;two&lt;/b&gt; findings" in page
    assert "Not good enough." in page
    assert 'href="a/b.html"' in page


def test_the_year_is_one_json_object_without_nan(outcome: YearOutcome) -> None:
    told = json.loads(json.dumps(outcome.to_json(), allow_nan=False))

    assert [each["kind"] for each in told["timeline"]] == [
        "trained", "monitored", "refused", "promoted", "rolled_back",
    ]  # fmt: skip
    assert told["months"][0]["recall"]["value"] == 0.5
    assert told["plan"]["new_fraud_month"] == 7

"""The impact preview, on rows that can be added up by hand."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from balancing.calibration.fitting.policy import fit_policy
from balancing.calibration.policy import Policy
from balancing.calibration.post_processing.plain_temperature import PlainTemperature
from flows.impact import Impact, preview_impact
from flows.impact_page import comparison_lines, render_impact
from infra.exploration import Exploration

START = datetime(2026, 3, 1, tzinfo=UTC)


def policy(review: float, decline: float) -> Policy:
    """A policy that reviews and declines from these log-odds."""
    random = np.random.default_rng(0)
    label = np.arange(200) < 40
    odds = random.normal(0, 1, 200) + 2 * label
    fitted = fit_policy(
        np.stack([-odds / 2, odds / 2], axis=1),
        label,
        settings={},
        model_sha256="0" * 64,
        post_processing=PlainTemperature(),
        calibration_fingerprint="0" * 64,
        actor="tests",
        reason="tests",
        seed=0,
    )
    cut = fitted.calibrator.apply(np.array([review, decline]))
    thresholds = fitted.thresholds.model_copy(
        update={
            "review": fitted.thresholds.review.model_copy(update={"threshold": float(cut[0])}),
            "decline": fitted.thresholds.decline.model_copy(update={"threshold": float(cut[1])}),
        }
    )
    return fitted.model_copy(update={"thresholds": thresholds})


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    """Eight rows a quarter of a day apart, log-odds -3 to 4, the last without a label."""
    odds = np.arange(-3.0, 5.0)
    return pl.DataFrame(
        {
            "row_id": [f"r{number}" for number in range(8)],
            "event_time": [START + timedelta(hours=6 * number) for number in range(8)],
            "amount_minor": [1000, 2000, 3000, 4000, 5000, 6000, 7000, 8000],
            "label": pl.Series([0, 0, 1, 0, 1, 0, 1, None], dtype=pl.Int8),
            "WAY": ["chip", "chip", "chip", "web", "web", "web", "web", None],
            "logit_negative": -odds / 2,
            "logit_positive": odds / 2,
        }
    )


@pytest.fixture(scope="module")
def impact(rows) -> Impact:
    """Old: review from 2.5, decline from 3.5. New: review from -1.5, decline from 2.5."""
    return preview_impact(
        rows, policy(2.5, 3.5), policy(-1.5, 2.5), shown_columns=["WAY"], minor_units_per_major=100
    )


def test_figures_of_both_policies(impact) -> None:
    old, new = impact.total.old, impact.total.new

    assert impact.days == 2.0
    assert (old.alerts, old.declines, old.alerts_per_day) == (2, 1, 1.0)
    assert (new.alerts, new.declines, new.alerts_per_day) == (6, 2, 3.0)
    assert (old.caught, old.missed, old.caught_amount, old.missed_amount) == (1, 2, 70.0, 80.0)
    assert (new.caught, new.missed, new.caught_amount, new.missed_amount) == (3, 0, 150.0, 0.0)
    assert (old.precision, new.precision) == (1.0, 3 / 5)  # the unlabelled alert counts in neither
    assert (old.recall, new.recall) == (1 / 3, 1.0)
    assert (old.false_positive_rate, new.false_positive_rate) == (0.0, 2 / 4)
    assert (impact.unlabelled, impact.total.positives) == (1, 3)


def test_what_exploring_costs_is_to_be_expected(rows) -> None:
    """The new policy declines r6 (70, positive) and r7 (80, label not known)."""
    old, new = policy(2.5, 3.5), policy(-1.5, 2.5)
    every = new.model_copy(update={"exploration": Exploration(rate=0.5)})
    small = new.model_copy(update={"exploration": Exploration(rate=0.5, max_amount=75.0)})

    both = preview_impact(rows, small, every).total
    off = preview_impact(rows, every, old).total
    without = preview_impact(rows, old, new).total
    undated = preview_impact(
        rows.with_columns(pl.lit(None, pl.Int64).alias("amount_minor")), None, small
    ).total.new

    assert (both.old.explored, both.new.explored) == (0.5, 1.0)
    assert (both.old.explored_per_day, both.new.explored_per_day) == (0.25, 0.5)
    assert (both.old.explored_amount, both.new.explored_amount) == (35.0, 35.0)
    assert both.new.declines == without.new.declines, "decisions are the policy's own"
    names = [line.name for line in comparison_lines(off.old, off.new, "EUR")]
    assert names[-3:] == ["Explored a day", "Explored", "Amount explored, EUR"]
    assert not any(
        "xplored" in line.name for line in comparison_lines(without.old, without.new, "EUR")
    )
    assert (undated.explored, undated.explored_amount) == (0.0, None), "no amount is above none"


def test_segments_add_up_and_rows_without_one_are_shown(impact) -> None:
    found = {each.value: (each.rows, each.old.alerts, each.new.alerts) for each in impact.segments}

    assert found == {"web": (4, 1, 4), "chip": (3, 0, 1), None: (1, 1, 1)}


def test_who_flips(impact) -> None:
    assert impact.flips == (
        {"from": "approve", "to": "review", "rows": 4, "positives": 2, "amount": 180.0},
        {"from": "review", "to": "decline", "rows": 1, "positives": 1, "amount": 70.0},
    )


def test_why_a_row_flips_names_scores_and_thresholds(impact) -> None:
    told = {row["row_id"]: row for row in impact.top_flips}

    assert list(told) == ["r6", "r4", "r2", "r5", "r3"]  # by kind; known positives, then amounts
    assert (told["r6"]["old_decision"], told["r6"]["new_decision"]) == ("review", "decline")
    score = f"{told['r4']['new_score']:.4g}"
    assert told["r4"]["why"].startswith(f"was {score}, below review from ")
    assert f"; now {score}, at or above review from " in told["r4"]["why"]


def test_without_an_earlier_policy_only_the_new_one_is_told(rows) -> None:
    impact = preview_impact(rows, None, policy(-1.5, 2.5))

    assert impact.total.old is None
    assert impact.flips == impact.top_flips == ()
    lines = {line.name: line for line in comparison_lines(None, impact.total.new, "EUR")}
    assert (lines["Alerts"].old, lines["Alerts"].new, lines["Alerts"].change) == ("–", "6", "–")


def test_rows_without_time_amount_or_label_have_no_such_figures(rows) -> None:
    bare = rows.with_columns(
        event_time=pl.lit(None, dtype=pl.Datetime("us", "UTC")),
        amount_minor=pl.lit(None, dtype=pl.Int64),
        label=pl.lit(None, dtype=pl.Int8),
    )

    new = preview_impact(bare, None, policy(-1.5, 2.5)).total.new

    assert new.alerts == 6
    assert (new.alerts_per_day, new.caught_amount, new.missed_amount) == (None, None, None)
    assert (new.precision, new.recall, new.false_positive_rate) == (None, None, None)


def test_figures_read_as_a_person_reads_them(impact) -> None:
    lines = {
        line.name: (line.old, line.new, line.change)
        for line in comparison_lines(impact.total.old, impact.total.new, "EUR")
    }

    assert lines["Alerts a day"] == ("1.0", "3.0", "+2.0")
    assert lines["Positives missed"] == ("2", "0", "−2")
    assert lines["Amount caught, EUR"] == ("70.00", "150.00", "+80.00")
    assert lines["Precision"] == ("100 %", "60 %", "−40 points")


def test_the_page_escapes_what_rows_hold(rows) -> None:
    evil = rows.with_columns(row_id=pl.lit("<script>alert(1)</script>"), WAY=pl.lit("<b>"))
    old, new = policy(2.5, 3.5), policy(-1.5, 2.5)

    page = render_impact(
        preview_impact(evil, old, new, shown_columns=["WAY"]),
        currency="EUR", name="shop", model_version="1", policy_version="2",
        earlier={"version": "1", "policy": old, "is_live": True}, policy=new, prior=None,
        strength={}, origin="rows", left_out={}, segment_columns=["WAY"], cautions=[], key_id="k",
    )  # fmt: skip

    assert "<script>" not in page
    assert "<b>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page

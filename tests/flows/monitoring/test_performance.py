"""Figures say what they cover, and are held against others only where they cover enough."""

from typing import Any

import numpy as np
import polars as pl
import pytest

from flows.monitoring.config import MonitorConfig
from flows.monitoring.decided_rows import DECIDED, KNOWN, SEGMENT
from flows.monitoring.findings import performance_findings, segment_findings
from flows.monitoring.performance import by_segment, by_version, performance_of

CONFIG = MonitorConfig(min_rows=200, min_positives=20)


def decided(
    n_rows: int, *, seed: int = 0, missed: float = 0.0, hides: bool = False, rate: float = 0.0
) -> pl.DataFrame:
    """Calibrated rows, but for a share of them that are fraud whatever their score.

    ``hides``: declines have no label. ``rate``: but for those let through.
    """
    rng = np.random.default_rng(seed)
    score = rng.beta(0.3, 3, n_rows)
    label = ((rng.random(n_rows) < score) | (rng.random(n_rows) < missed)).astype(np.int8)
    decision = (score >= 0.2).astype(np.int8) + (score >= 0.6).astype(np.int8)
    explored = (decision == 2) & (rng.random(n_rows) < rate)
    hidden = hides & (decision == 2) & ~explored
    weight = np.where(explored, 1 / rate if rate else 1.0, np.where(hidden & (rate > 0), 0.0, 1.0))
    n = n_rows
    return pl.DataFrame(
        {
            "row_id": [str(at) for at in range(n)], "happened_at": [None] * n,
            "risk_score": score, "decision": decision, "is_explored": explored,
            "is_degraded": [False] * n, "model_version": ["1"] * n, "policy_version": ["1"] * n,
            "label": [None if hidden[at] else int(label[at]) for at in range(n)],
            "is_mature": [True] * n, "is_positive": label == 1, "known_after": [None] * n,
            "age": [None] * n, "weight": weight,
        },
        schema=DECIDED | KNOWN,
    )  # fmt: skip


def metrics(found: list[Any]) -> dict[str, str]:
    return {each.metric: each.action for each in found}


def test_nothing_is_found_where_nothing_changed() -> None:
    alarms = 0
    before = performance_of(decided(2000, seed=100), "before", with_calibration=True)
    for seed in range(6):
        now = performance_of(decided(2000, seed=seed), "now", with_calibration=True)
        alarms += bool(performance_findings(now, before, CONFIG))

    assert alarms <= 1


def test_a_new_fraud_is_found_by_labels_and_not_by_the_estimate() -> None:
    before = performance_of(decided(4000), "before", with_calibration=True)
    now = performance_of(decided(4000, seed=1, missed=0.1), "shop:1", with_calibration=True)

    found = performance_findings(now, before, CONFIG)

    assert metrics(found)["recall"] == "retrain"
    assert not any(each.is_estimate for each in found)
    (recall,) = [each for each in found if each.metric == "recall"]
    assert recall.low < recall.value < recall.high
    assert recall.says.startswith("Recall of shop:1 fell from 0.")


def test_riskier_rows_move_the_estimate_before_any_label_is_known() -> None:
    before = performance_of(decided(4000), "before")
    late = decided(4000, seed=1).with_columns(
        risk_score=pl.col("risk_score") * 0.4, label=pl.lit(None, dtype=pl.Int8)
    )
    late = late.with_columns(decision=(pl.col("risk_score") >= 0.2).cast(pl.Int8))
    now = performance_of(late, "shop:1")

    found = performance_findings(now, before, CONFIG)

    assert now.realised is None
    assert {each.metric for each in found} == {"estimated_precision", "estimated_recall"}
    assert all(each.is_estimate and each.action == "notify" for each in found)


def test_where_declines_hide_labels_nothing_is_held_against_anything() -> None:
    before = performance_of(decided(20_000), "before")
    now = performance_of(decided(20_000, seed=1, hides=True), "shop:1")

    assert now.coverage.share_of_declines == 0
    assert now.realised is not None
    assert now.judged is None
    # The figure is far lower on what is left, and nobody is alarmed by that.
    assert now.realised.average_precision.high < before.realised.average_precision.low
    assert metrics(performance_findings(now, before, CONFIG)) == {}


def test_explored_rows_let_performance_be_judged_again() -> None:
    before = performance_of(decided(20_000), "before")
    now = performance_of(decided(20_000, seed=1, hides=True, rate=0.2), "shop:1")
    missed = decided(20_000, seed=2, missed=0.1, hides=True, rate=0.2)

    assert now.judged is now.reweighted is not None
    assert now.coverage.labelled_explored == now.coverage.explored > 20
    assert abs(now.judged.recall.value - before.judged.recall.value) < 0.05
    assert performance_findings(now, before, CONFIG) == []
    worse = performance_findings(performance_of(missed, "shop:1"), before, CONFIG)
    assert metrics(worse)["recall"] == "retrain"


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_alone_is_no_trouble(label: int) -> None:
    frame = decided(300).with_columns(label=pl.lit(label, dtype=pl.Int8))

    found = performance_of(frame, "shop:1", with_calibration=True)

    assert found.calibration is None
    assert (found.realised is None) == (label == 0)
    assert performance_findings(found, found, CONFIG) == []


def test_five_rows_never_raise_an_alarm() -> None:
    before = performance_of(decided(4000), "before", with_calibration=True)
    few = decided(4000, seed=1, missed=0.5).head(5)

    assert performance_findings(performance_of(few, "now"), before, CONFIG) == []


def test_scores_that_are_too_bold_are_said_to_be() -> None:
    frame = decided(6000)
    odds = (pl.col("risk_score") / (1 - pl.col("risk_score"))).log()
    bold = frame.with_columns(risk_score=1 / (1 + (-2 * odds - 1).exp()))
    before = performance_of(frame, "before", with_calibration=True)
    now = performance_of(bold, "shop:1", with_calibration=True)

    (slope,) = [
        each
        for each in performance_findings(now, before, CONFIG)
        if each.metric == "calibration_slope"
    ]
    assert "too bold" in slope.says
    assert slope.value == pytest.approx(0.5, abs=0.1)


def test_versions_are_told_apart_the_newest_first() -> None:
    rows = decided(400).with_columns(
        model_version=pl.Series(["2"] * 100 + ["10"] * 300),
        policy_version=pl.Series(["1"] * 100 + ["3"] * 300),
    )

    found = by_version(rows, "shop")

    assert [each.about for each in found] == ["shop:10 with policy 3", "shop:2 with policy 1"]
    assert [each.coverage.rows for each in found] == [300, 100]


def test_a_segment_alone_calls_for_a_look_and_no_more() -> None:
    shop = decided(4000).with_columns(pl.lit("DE").alias(f"{SEGMENT}COUNTRY"))
    risky = pl.when(pl.int_range(pl.len()) % 3 == 0).then(1).otherwise(pl.col("decision"))
    now = decided(4000, seed=1, missed=0.2).with_columns(
        risky.cast(pl.Int8).alias("decision"), pl.lit("DE").alias(f"{SEGMENT}COUNTRY")
    )

    found = segment_findings(by_segment(now, ("COUNTRY",)), by_segment(shop, ("COUNTRY",)), CONFIG)

    assert {each.action for each in found} == {"notify"}
    assert {each.about for each in found} == {"COUNTRY = DE"}
    assert "recall" in metrics(found)
    assert segment_findings(by_segment(now, ("COUNTRY",)), {}, CONFIG) == []

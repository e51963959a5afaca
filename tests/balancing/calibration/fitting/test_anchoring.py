"""Anchored thresholds: another scale of scores, the same share of the negatives above."""

from typing import Any

import numpy as np
import pytest

from balancing.calibration.fitting.anchoring import anchor_thresholds
from balancing.calibration.fitting.operating_points import Period
from balancing.calibration.fitting.threshold_pair import ScoredRows
from balancing.calibration.policy import Policy
from balancing.metrics.operating_point import false_positive_rate_at

FPR = {"objective": "max_fpr", "max_fpr": 0.02}
PRECISION = {"objective": "min_precision", "min_precision": 0.8}
COST = {"objective": "cost", "review_cost": 5}


@pytest.fixture(scope="module")
def old_rows(make_rows: Any) -> Any:
    return make_rows(8000, 80, seed=3)


@pytest.fixture(scope="module")
def new_rows(make_rows: Any) -> Any:
    """Another version: its log-odds are stretched and moved, its noise is its own."""
    rows = make_rows(8000, 80, seed=4, stretch=0.4)
    return type(rows)(
        rows.logits + np.array([[-1.5, 1.5]]), rows.label, rows.amount_minor, rows.event_time
    )


def scored(rows: Any, policy: Policy, segment: Any = None) -> ScoredRows:
    """The rows as the policy of their own version scores them."""
    label = rows.label.astype(np.int64)
    return ScoredRows(label, policy.risk_score(rows.logits), segment, Period(rows.amount_minor, 10))


@pytest.fixture(scope="module")
def old(old_rows: Any) -> Policy:
    return old_rows.fit(FPR, PRECISION)


@pytest.fixture(scope="module")
def anchored(old: Policy, new_rows: Any) -> Policy:
    return new_rows.fit(PRECISION, FPR, anchor=old)


@pytest.mark.parametrize("word", ["review", "decline"])
def test_thresholds_keep_their_false_positive_rate(
    old: Policy, anchored: Policy, old_rows: Any, new_rows: Any, word: str
) -> None:
    before, after = (getattr(each.thresholds, word) for each in (old, anchored))
    wanted = false_positive_rate_at(
        old_rows.label, old.risk_score(old_rows.logits), threshold=before.threshold
    )
    found = false_positive_rate_at(
        new_rows.label, anchored.risk_score(new_rows.logits), threshold=after.threshold
    )

    assert wanted == before.achieved.false_positive_rate
    assert wanted - 1 / 7000 < found <= wanted


def test_the_same_rows_and_scores_keep_their_thresholds(old: Policy, old_rows: Any) -> None:
    again = anchor_thresholds(scored(old_rows, old), old, seed=0)

    assert again.review.threshold == pytest.approx(old.thresholds.review.threshold, rel=1e-3)
    decided = again.decide(old.risk_score(old_rows.logits))
    assert (decided == old.apply(old_rows.logits).decision).mean() > 0.9995


def test_an_anchored_threshold_has_an_interval_and_says_what_it_is_anchored_at(
    old: Policy, anchored: Policy
) -> None:
    review = anchored.thresholds.review

    assert review.interval.low <= review.threshold <= review.interval.high
    assert review.reason.startswith("Anchored at the false-positive rate 0.0199")
    assert f"in policy {old.policy_id[:12]}: max_fpr of 0.0199" in review.reason


def test_a_threshold_without_false_alarms_stays_without(old_rows: Any, new_rows: Any) -> None:
    strict = old_rows.fit(FPR, {"objective": "max_fpr", "max_fpr": 0.00001})
    assert strict.thresholds.decline.achieved.false_positive_rate == 0
    anchored = new_rows.fit(FPR, FPR, anchor=strict)

    assert anchored.thresholds.decline.achieved.false_positive_rate == 0
    assert anchored.thresholds.decline.threshold is not None


def test_a_threshold_that_was_not_there_is_not_there(old_rows: Any, new_rows: Any) -> None:
    spoilt = type(old_rows)(
        np.concatenate([old_rows.logits, [[-40.0, 40.0]]]), np.append(old_rows.label, 0), None, None
    )
    without = spoilt.fit(FPR, {"objective": "min_precision", "min_precision": 1.0})
    assert without.thresholds.decline.threshold is None
    anchored = new_rows.fit(FPR, FPR, anchor=without)

    assert anchored.thresholds.decline.threshold is None
    assert "which has no such threshold" in anchored.thresholds.decline.reason
    assert Policy.from_json(anchored.to_json()).policy_id == anchored.policy_id


def test_costs_hold_on_any_calibrated_score(old_rows: Any, new_rows: Any) -> None:
    old = old_rows.fit(COST, PRECISION)
    anchored = new_rows.fit(FPR, FPR, anchor=old)

    assert anchored.thresholds.review.row_costs == old.thresholds.review.row_costs
    assert anchored.thresholds.review.objective == old.thresholds.review.objective
    anchored.check_golden()


def test_segments_are_re_expressed_too(old_rows: Any, new_rows: Any) -> None:
    segment = np.where(old_rows.log_odds + 3 * np.sin(np.arange(8000)) > -9, "web", "shop")
    named = {"review": FPR, "decline": FPR, "segments": ["way"]}
    old = old_rows.fit(None, None, settings=named, segment=segment.astype(object))
    before = {each.segment: each.threshold for each in old.thresholds.review.segments}
    new_segment = np.where(np.arange(8000) % 4 == 0, "web", "moon").astype(object)
    anchored = new_rows.fit(None, None, settings=named, segment=new_segment, anchor=old)
    (web,) = anchored.thresholds.review.segments
    wanted = old.score_map.false_positive_rate_at(np.array([before["web"]]))[0]
    found = false_positive_rate_at(
        new_rows.label, anchored.risk_score(new_rows.logits, new_segment), threshold=web.threshold
    )

    assert web.segment == "web"  # no new row is of the shop; the moon has the global threshold
    assert web.n_rows == 2000
    assert found == pytest.approx(wanted, rel=0.02)
    assert "Anchored at the false-positive rate" in web.reason

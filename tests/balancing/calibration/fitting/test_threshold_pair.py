"""Both thresholds together: by amount and by segment, in order, told as they decide."""

from typing import Any

import numpy as np
import pytest

from balancing.calibration.fitting.calibrators import CalibrationError
from balancing.calibration.policy import Policy

FPR = {"objective": "max_fpr", "max_fpr": 0.01}
PRECISION = {"objective": "min_precision", "min_precision": 0.6}
COST = {"objective": "cost", "review_cost": 3, "friction_cost": 1}


@pytest.fixture(scope="module")
def rows(make_rows: Any) -> Any:
    return make_rows(12_000, 240, seed=5)


@pytest.fixture(scope="module")
def segment(rows: Any) -> np.ndarray:
    """Two ways to pay whose scores differ, a rare one, and some rows without any."""
    rng = np.random.default_rng(0)
    way = np.where(rows.log_odds + rng.normal(0, 3, 12_000) > -10, "web", "shop").astype(object)
    way[rng.random(12_000) < 0.002] = "mail"
    way[:50] = None
    return way


def fitted(rows: Any, segment: Any, review: Any, decline: Any) -> Policy:
    settings = {"review": review, "decline": decline, "segments": ["WAY"]}
    return rows.fit(None, None, settings=settings, segment=segment)


PAIRS = [(FPR, PRECISION), (COST, PRECISION), (PRECISION, COST), (COST, COST), (FPR, FPR)]


@pytest.mark.parametrize(("review", "decline"), PAIRS)
def test_what_is_told_is_what_is_done(
    rows: Any, segment: np.ndarray, review: Any, decline: Any
) -> None:
    policy = fitted(rows, segment, review, decline)
    given_rows = {"amount_minor": rows.amount_minor, "segment": segment}
    decision = policy.apply(rows.logits, **given_rows).decision
    told = policy.thresholds

    assert (decision >= 1).sum() == told.review.achieved.n_alerts
    assert (decision == 2).sum() == told.decline.achieved.n_alerts
    for word, least in (("review", 1), ("decline", 2)):
        for each in getattr(told, word).segments or ():
            own = segment == each.segment
            assert (decision[own] >= least).sum() == each.achieved.n_alerts
            assert own.sum() == each.n_rows


@pytest.mark.parametrize(("review", "decline"), PAIRS)
def test_decline_lies_below_review_for_no_row(
    rows: Any, segment: np.ndarray, review: Any, decline: Any
) -> None:
    policy = fitted(rows, segment, review, decline)
    lowest = policy.thresholds.of_rows(rows.amount_minor, segment)
    review_at, decline_at = (np.broadcast_to(each, len(segment)) for each in lowest)

    assert (review_at <= decline_at).all()


@pytest.mark.parametrize(("review", "decline"), PAIRS)
def test_the_policy_survives_json_and_its_golden_rows(
    rows: Any, segment: np.ndarray, review: Any, decline: Any
) -> None:
    policy = Policy.from_json(fitted(rows, segment, review, decline).to_json())

    policy.check_golden()
    assert (policy.golden.amount_minor is not None) == policy.needs_amounts
    assert (policy.golden.segment is not None) == policy.needs_segments
    assert policy.segment_columns == (("WAY",) if policy.needs_segments else ())


def test_one_row_is_decided_as_many_rows_are(rows: Any, segment: np.ndarray) -> None:
    policy = fitted(rows, segment, COST, PRECISION)
    together = policy.apply(rows.logits, amount_minor=rows.amount_minor, segment=segment)
    top = np.argsort(-together.risk_score)[:300]

    for at in top:
        one = slice(at, at + 1)
        alone = policy.apply(
            rows.logits[one], amount_minor=rows.amount_minor[one], segment=segment[one]
        )
        assert alone.decision == together.decision[one]


def test_costs_need_no_segments(rows: Any) -> None:
    policy = fitted(rows, None, COST, COST)

    assert policy.segment_columns == ()
    assert policy.needs_amounts
    assert not policy.needs_segments


def test_a_segment_raised_to_review_says_so(rows: Any, segment: np.ndarray) -> None:
    low, high = {"objective": "max_fpr", "max_fpr": 0.001}, {"objective": "max_fpr", "max_fpr": 0.1}
    thresholds = fitted(rows, segment, low, high).thresholds

    assert thresholds.decline.threshold == thresholds.review.threshold
    review = {each.segment: each.threshold for each in thresholds.review.segments}
    for each in thresholds.decline.segments:
        assert each.threshold == review[each.segment]
        assert each.reason.endswith("Raised to review")


def test_unseen_and_missing_segments_have_the_global_threshold(
    rows: Any, segment: np.ndarray
) -> None:
    policy = fitted(rows, segment, FPR, PRECISION)
    score = policy.risk_score(rows.logits, segment)
    strange = np.array(["moon", None] * 6000, dtype=object)
    decision = policy.apply(rows.logits, segment=strange).decision

    assert ((decision >= 1) == (score >= policy.thresholds.review.threshold)).all()


@pytest.mark.parametrize(
    ("review", "changes", "message"),
    [
        (COST, {"amount_minor": None}, "cost objective needs amounts"),
        ({"objective": "alert_budget", "alerts_per_day": 1300}, {}, "below the traffic of 12"),
        (FPR, {"segment": None}, "wanted by WAY, and the calibration rows carry no segments"),
        (FPR, {"label": np.arange(12_000) < 9}, "at least 10 positives among .* Got 9 of 12000"),
        (FPR, {"logits": np.tile([-1.0, 1.0], (12_000, 1))}, "the same logit"),
    ],
)
def test_what_cannot_be_tuned_is_refused_in_one_line(
    rows: Any, segment: np.ndarray, review: Any, changes: dict[str, Any], message: str
) -> None:
    changed = type(rows)(
        changes.pop("logits", rows.logits), changes.pop("label", rows.label), None, rows.event_time
    )
    arguments = {"amount_minor": rows.amount_minor, "segment": segment} | changes
    settings = {"review": review, "decline": PRECISION, "segments": ["WAY"]}

    with pytest.raises(CalibrationError, match=message) as caught:
        changed.fit(None, None, settings=settings, **arguments)
    assert "\n" not in str(caught.value)

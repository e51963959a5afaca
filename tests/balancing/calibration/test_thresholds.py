"""Applying thresholds: inclusive, ordered, and without one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from balancing.calibration.row_costs import RowCosts
from balancing.calibration.thresholds import (
    OperatingPoint,
    SegmentThreshold,
    Thresholds,
    TunedThreshold,
    decide,
)
from balancing.metrics.intervals import Interval
from infra.objectives import MaxFprObjective

UNKNOWN = Interval(float("nan"), float("nan"), float("nan"))
NOTHING = OperatingPoint(
    n_alerts=0, alert_rate=0, false_positive_rate=0, recall=0, precision=float("nan")
)
COSTS = RowCosts(review_cost=5, loss_rate=1, friction_cost=0)


def threshold(
    value: float | None,
    *,
    costs: RowCosts | None = None,
    segments: dict[str, float | None] | None = None,
) -> TunedThreshold:
    own = [
        SegmentThreshold(
            segment=name, threshold=each, interval=UNKNOWN, weight=0.5, n_rows=9, n_positives=1,
            achieved=NOTHING, reason="by hand",
        )
        for name, each in (segments or {}).items()
    ]  # fmt: skip
    return TunedThreshold(
        objective=MaxFprObjective(max_fpr=0.1),
        threshold=value,
        interval=UNKNOWN,
        feasible_share=1.0,
        row_costs=costs,
        segments=tuple(own) or None,
        achieved=NOTHING,
        reason="by hand",
    )


def test_a_score_at_a_threshold_counts_as_above_it() -> None:
    decisions = decide([0.19, 0.2, 0.79, 0.8], review_threshold=0.2, decline_threshold=0.8)

    assert decisions.tolist() == [0, 1, 1, 2]
    assert decisions.dtype == np.int8


def test_equal_thresholds_leave_nothing_to_review() -> None:
    assert decide([0.1, 0.5], review_threshold=0.5, decline_threshold=0.5).tolist() == [0, 2]


@pytest.mark.parametrize(
    ("review", "decline", "expected"),
    [(0.2, None, [0, 1, 1]), (None, 0.8, [0, 0, 2]), (None, None, [0, 0, 0])],
)
def test_without_a_threshold_no_row_gets_its_decision(
    review: float | None, decline: float | None, expected: list[int]
) -> None:
    thresholds = Thresholds(review=threshold(review), decline=threshold(decline))

    assert thresholds.decide(np.array([0.1, 0.3, 1.0])).tolist() == expected


def test_a_decline_threshold_below_review_is_refused() -> None:
    with pytest.raises(ValidationError, match="must not be below the review threshold"):
        Thresholds(review=threshold(0.5), decline=threshold(0.4))


def test_decisions_never_fall_as_the_score_rises() -> None:
    scores = np.linspace(0, 1, 1001)
    decisions = decide(scores, review_threshold=0.3, decline_threshold=0.3001)

    assert (np.diff(decisions) >= 0).all()


def test_amounts_move_the_review_threshold() -> None:
    """A review of 5 pays from 0.05 for 100.00, from 0.5 for 10.00."""
    thresholds = Thresholds(review=threshold(None, costs=COSTS), decline=threshold(None))
    decided = thresholds.decide(
        np.array([0.05, 0.0499, 0.5, 0.49]), amount_minor=[10_000, 10_000, 1_000, 1_000]
    )

    assert decided.tolist() == [1, 0, 1, 0]


def test_a_row_without_an_amount_has_the_global_threshold() -> None:
    thresholds = Thresholds(review=threshold(0.3, costs=COSTS), decline=threshold(None))
    review, _ = thresholds.of_rows([np.nan, 10_000])

    assert review.tolist() == [0.3, 0.05]


def test_a_review_by_costs_gives_way_to_decline() -> None:
    """2.00 never pay a review of 5, yet a row at 0.95 is declined, and so is reviewed nowhere."""
    thresholds = Thresholds(review=threshold(0.3, costs=COSTS), decline=threshold(0.9))
    review, decline = thresholds.of_rows([200, 10_000])

    assert review.tolist() == [0.9, 0.05]
    assert np.broadcast_to(decline, 2).tolist() == [0.9, 0.9]
    assert thresholds.decide(np.array([0.95, 0.89]), amount_minor=[200, 200]).tolist() == [2, 0]


def test_a_decline_by_costs_is_raised_to_review() -> None:
    thresholds = Thresholds(review=threshold(0.2), decline=threshold(0.4, costs=COSTS))
    review, decline = thresholds.of_rows([10_000, 1_000])

    assert float(review) == 0.2
    assert decline.tolist() == [0.2, 0.5]


def test_segments_have_their_own_thresholds_and_others_the_global_one() -> None:
    thresholds = Thresholds(
        review=threshold(0.5, segments={"web": 0.2, "shop": 0.7}), decline=threshold(0.9)
    )
    segment = np.array(["web", "shop", "moon", None], dtype=object)
    review, decline = thresholds.of_rows(segment=segment)

    assert review.tolist() == [0.2, 0.7, 0.5, 0.5]
    assert decline.tolist() == [0.9, 0.9, 0.9, 0.9]
    assert thresholds.decide(np.full(4, 0.6), segment=segment).tolist() == [1, 0, 1, 1]


def test_review_and_decline_may_know_other_segments() -> None:
    thresholds = Thresholds(
        review=threshold(0.5, segments={"web": 0.2, "shop": 0.95}),
        decline=threshold(0.9, segments={"shop": 0.6, "mail": 0.8}),
    )
    segment = np.array(["web", "shop", "mail"], dtype=object)
    review, decline = thresholds.of_rows(segment=segment)

    assert review.tolist() == [0.2, 0.95, 0.5]
    assert decline.tolist() == [0.9, 0.95, 0.8]  # that of shop is raised to its review


def test_a_segment_may_have_no_threshold_where_others_have_one() -> None:
    thresholds = Thresholds(
        review=threshold(0.5, segments={"web": None, "shop": 0.1}), decline=threshold(0.9)
    )
    segment = np.array(["web", "web", "shop"], dtype=object)

    assert thresholds.decide(np.array([0.89, 0.9, 0.2]), segment=segment).tolist() == [0, 2, 1]


optional = st.none() | st.floats(0, 1)


@given(
    st.tuples(st.booleans(), st.booleans()), optional, st.floats(0, 1), st.floats(0, 1),
    st.lists(st.tuples(st.floats(0, 1), st.sampled_from(["web", "shop", "moon", None]),
                       st.none() | st.integers(-10_000, 10**7)), min_size=1),
)  # fmt: skip
def test_decline_lies_below_review_for_no_row(
    costly: tuple[bool, bool], review: float | None, extra: float, own: float, rows
) -> None:
    decline = None if review is None else review + extra * (1 - review)
    thresholds = Thresholds(
        review=threshold(review, costs=COSTS if costly[0] else None,
                         segments=None if costly[0] else {"web": own, "shop": 1 - own}),
        decline=threshold(decline, costs=COSTS if costly[1] else None,
                          segments=None if costly[1] else {"web": 1 - own}),
    )  # fmt: skip
    score = np.array([each[0] for each in rows])
    given_rows = {
        "segment": np.array([each[1] for each in rows], dtype=object),
        "amount_minor": np.array([each[2] for each in rows], dtype=np.float64),
    }
    lowest = thresholds.of_rows(**given_rows)
    review_at, decline_at = (np.broadcast_to(each, score.shape) for each in lowest)
    both = ~np.isnan(review_at) & ~np.isnan(decline_at)

    assert (review_at <= decline_at)[both].all()
    decided = thresholds.decide(score, **given_rows)
    assert ((decided == 2) == (score >= decline_at)).all()
    assert ((decided >= 1) == ((score >= review_at) | (score >= decline_at))).all()


def test_what_is_decided_by_must_be_there() -> None:
    costly = Thresholds(review=threshold(0.3, costs=COSTS), decline=threshold(None))
    segmented = Thresholds(review=threshold(0.3, segments={"a": 0.2}), decline=threshold(None))

    with pytest.raises(ValueError, match="need each row's amount"):
        costly.decide(np.array([0.1]))
    with pytest.raises(ValueError, match="need each row's segment"):
        segmented.decide(np.array([0.1]))

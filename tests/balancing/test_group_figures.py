"""Figures of groups: shares that a reader can count, ratios to the best, small groups named."""

import numpy as np
import pytest

from balancing.group_figures import MIN_ROWS, group_figures, ratio_interval
from balancing.part_figures import Grouped

APPROVE, REVIEW, DECLINE = 0, 1, 2


def figures(*groups: tuple[str | None, int, dict[int, int], int], compared: bool = True) -> Grouped:
    """Groups as (value, rows, how many of each decision, positives among the first rows)."""
    value: list[str | None] = []
    label: list[int] = []
    decision: list[int] = []
    for name, n_rows, decisions, n_positives in groups:
        value += [name] * n_rows
        label += [1] * n_positives + [0] * (n_rows - n_positives)
        # What is declined and reviewed comes first, so that it meets the positives.
        for word in (DECLINE, REVIEW, APPROVE):
            decision += [word] * decisions.get(word, 0)
    score = np.full(len(value), 0.2)
    return group_figures(
        "SEX", value, label=label, risk_score=score, decision=decision, compared=compared
    )


def test_shares_are_counted_by_hand() -> None:
    found = figures(("f", 100, {DECLINE: 10, REVIEW: 10, APPROVE: 80}, 40), compared=False)

    (group,) = found.groups
    assert (group.rows, group.positives) == (100, 40)
    assert group.approved.value == 0.8
    assert group.declined.value == 0.1
    assert group.recall is not None
    assert group.recall.value == 0.5  # 20 alerts, all among the 40 positives
    assert group.false_positive_rate is not None
    assert group.false_positive_rate.value == 0.0
    assert group.precision is not None
    assert group.precision.value == 1.0
    assert group.observed_rate.value == 0.4
    assert group.calibration_gap.value == pytest.approx(0.2 - 0.4)
    assert group.calibration_gap.low < group.calibration_gap.value < group.calibration_gap.high
    assert group.ratios == {}


def test_ratios_are_to_the_group_that_fares_best() -> None:
    found = figures(
        ("f", 200, {DECLINE: 100, APPROVE: 100}, 0), ("m", 200, {APPROVE: 200}, 0),
    )  # fmt: skip

    f, m = found.groups
    assert {name: one.value for name, one in m.ratios.items()} == {
        "approved": 1.0, "not_declined": 1.0, "approved_good": 1.0,
    }  # fmt: skip
    assert f.ratios["approved"].value == 0.5
    assert f.ratios["approved"].low < 0.5 < f.ratios["approved"].high < 0.8
    assert f.below_four_fifths == ("approved", "not_declined", "approved_good")
    assert m.below_four_fifths == ()


def test_a_group_that_ties_with_the_best_has_an_interval_of_its_own() -> None:
    found = figures(
        ("f", 100, {REVIEW: 50, APPROVE: 50}, 0), ("m", 100, {REVIEW: 50, APPROVE: 50}, 0),
    )  # fmt: skip

    best, other = (group.ratios["approved"] for group in found.groups)
    assert (best.low, best.value, best.high) == (1.0, 1.0, 1.0)
    assert other.value == 1.0
    assert other.low < 1.0 < other.high


def test_groups_that_are_too_small_are_left_out_and_named() -> None:
    found = figures(
        ("f", MIN_ROWS, {APPROVE: MIN_ROWS}, 0), ("x", MIN_ROWS - 1, {APPROVE: MIN_ROWS - 1}, 0),
        (None, 2, {APPROVE: 2}, 0),
    )  # fmt: skip

    assert [group.value for group in found.groups] == ["f"]
    assert [(one.value, one.rows) for one in found.left_out] == [("x", MIN_ROWS - 1), (None, 2)]
    assert found.groups[0].ratios == {}, "alone there is nothing to compare with"


def test_a_share_of_too_few_rows_is_not_told() -> None:
    found = figures(("f", 60, {REVIEW: 9, APPROVE: 51}, 9))

    (group,) = found.groups
    assert (group.recall, group.precision, group.average_precision) == (None, None, None)
    assert group.false_positive_rate is not None


def test_where_nobody_is_approved_there_is_no_ratio() -> None:
    found = figures(("f", 60, {REVIEW: 60}, 0), ("m", 60, {REVIEW: 60}, 0))

    assert [set(group.ratios) for group in found.groups] == [{"not_declined"}] * 2


def test_a_group_that_gets_nothing_has_a_ratio_of_zero() -> None:
    found = ratio_interval((0.0, 50), (0.5, 50))

    assert (found.value, found.low) == (0.0, 0.0)
    assert np.isnan(found.high)


def test_the_interval_of_a_ratio_covers_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    drawn = random.binomial(400, [0.6, 0.8], size=(2000, 2)) / 400
    found = [ratio_interval((low, 400), (high, 400)) for low, high in drawn]

    share = np.mean([one.low <= 0.75 <= one.high for one in found])

    assert 0.93 < share < 0.97


def test_columns_of_other_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must be of one length. Got 1, 2, 2, 2."):
        group_figures(
            "SEX", ["f"], label=[0, 1], risk_score=[0.1, 0.2], decision=[0, 0], compared=True
        )


def test_the_same_seed_gives_the_same_intervals() -> None:
    one = figures(("f", 100, {DECLINE: 20, APPROVE: 80}, 30))

    assert one == figures(("f", 100, {DECLINE: 20, APPROVE: 80}, 30))
    assert one.groups[0].average_precision is not None

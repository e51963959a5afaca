"""What k alerts find, on numbers a reader can add up."""

import numpy as np
import pytest

from balancing.metrics.alerts import (
    card_precision_at_k,
    precision_at_k,
    recall_at_k_of,
    value_detection_rate,
)
from balancing.metrics.cells import count_cells

LABEL = [1, 0, 1, 0, 1]
SCORE = [0.9, 0.8, 0.7, 0.6, 0.5]


@pytest.mark.parametrize(("k", "expected"), [(1, 1.0), (2, 1 / 2), (3, 2 / 3), (5, 3 / 5)])
def test_precision_counts_the_k_highest_scores(k: int, expected: float) -> None:
    assert precision_at_k(LABEL, SCORE, k=k) == pytest.approx(expected)


def test_a_tie_at_the_kth_place_counts_in_proportion() -> None:
    """One place is left for three rows of one score, one of them positive: a third of it."""
    assert precision_at_k([1, 0, 1, 0], [0.9, 0.5, 0.5, 0.5], k=2) == pytest.approx((1 + 1 / 3) / 2)


def test_precision_does_not_depend_on_the_order_of_the_rows() -> None:
    rng = np.random.default_rng(0)
    label, score = np.arange(60) % 3 == 0, np.arange(60) % 7
    order = rng.permutation(60)

    assert precision_at_k(label, score, k=11) == precision_at_k(label[order], score[order], k=11)


@pytest.mark.parametrize(("k", "expected"), [(1, 1 / 3), (2, 1 / 3), (3, 2 / 3), (5, 1.0)])
def test_recall_counts_the_k_highest_scores(k: int, expected: float) -> None:
    assert recall_at_k_of(count_cells(LABEL, SCORE), k=k) == pytest.approx(expected)


def test_value_detection_weighs_by_amount() -> None:
    """The two highest scores hold 300 of 300 + 100 + 200; amounts of negatives do not matter."""
    amount = [300, 9999, 100, 9999, 200]

    assert value_detection_rate(LABEL, SCORE, amount, k=2) == pytest.approx(300 / 600)


@pytest.mark.parametrize("amount", [np.nan, -20, 0])
def test_a_missing_or_negative_amount_counts_as_nothing(amount: float) -> None:
    assert value_detection_rate([1, 1], [0.9, 0.8], [amount, 5], k=1) == 0.0


@pytest.mark.parametrize("k", [0, -1, 6])
def test_k_outside_the_rows_is_refused(k: int) -> None:
    with pytest.raises(ValueError, match=r"k must be between 1 and the number of rows \(5\)"):
        precision_at_k(LABEL, SCORE, k=k)


def test_card_precision_blocks_a_card_once_found() -> None:
    """Day 1 finds card a (1/2). On day 2 a is blocked, so b and c are looked at: none (0/2)."""
    label = [1, 0, 0, 1, 0, 0]
    score = [0.9, 0.8, 0.1, 0.9, 0.2, 0.1]
    day = [1, 1, 1, 2, 2, 2]
    card = ["a", "b", "c", "a", "b", "c"]

    assert card_precision_at_k(label, score, day=day, card=card, k=2) == pytest.approx(1 / 4)
    assert card_precision_at_k(
        label, score, day=day, card=card, k=2, drop_found_cards=False
    ) == pytest.approx(1 / 2)


def test_card_precision_takes_a_cards_highest_score_and_any_positive_row() -> None:
    """Card a is defrauded by its low row, and looked at for its high one."""
    assert card_precision_at_k([0, 1, 0], [0.9, 0.1, 0.5], day=[1, 1, 1], card=[7, 7, 8], k=1) == 1


def test_card_precision_needs_a_place() -> None:
    with pytest.raises(ValueError, match="k must be at least 1. Got k=0"):
        card_precision_at_k([1], [0.5], day=[1], card=[1], k=0)

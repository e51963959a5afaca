"""What a team that can look at k alerts finds, by row, by card and by value.

Rows with one score cannot be told apart, so where a tie straddles the k-th place each of them
counts with the same chance: the figures do not depend on the order of the rows.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from balancing.metrics.cells import (
    FloatArray,
    IntArray,
    ScoreCells,
    check_labels,
    check_scores,
    count_cells,
    share,
)


def precision_at_k(label: ArrayLike, score: ArrayLike, *, k: int) -> float:
    """Return the share of positives among the ``k`` highest scores.

    Raises:
        ValueError: If there is no positive or ``k`` is not between 1 and the number of rows.

    Example:
        >>> precision_at_k([0, 1, 0, 1], [0.1, 0.4, 0.6, 0.9], k=2)
        0.5
    """
    cells = count_cells(label, score)
    _check_k(k, cells)
    return float(precision_at_k_of(cells, k=k))


def value_detection_rate(label: ArrayLike, score: ArrayLike, amount: ArrayLike, *, k: int) -> float:
    """Return the share of the positives' summed amount that the ``k`` highest scores hold.

    Args:
        label: 0 or 1 per row.
        score: Higher means riskier.
        amount: Value of each row in minor currency units; missing or negative counts as 0.
        k: Rows that can be looked at.

    Raises:
        ValueError: If there is no positive or ``k`` is out of range.

    Example:
        >>> value_detection_rate([1, 0, 1], [0.9, 0.5, 0.1], [300, 50, 100], k=1)
        0.75
    """
    cells = count_cells(label, score, amount=amount)
    _check_k(k, cells)
    return float(value_detection_rate_of(cells, k=k))


def precision_at_k_of(cells: ScoreCells, *, k: int) -> FloatArray:
    """Return the precision among the first ``k`` rows per set of counts -> ``(*)``."""
    found = (cells.positives * _share_within(cells, k)).sum(axis=-1)
    rows = cells.n_positives[..., 0] + cells.n_negatives[..., 0]
    return share(found, np.minimum(float(k), rows))


def recall_at_k_of(cells: ScoreCells, *, k: int) -> FloatArray:
    """Return the share of positives among the first ``k`` rows per set of counts -> ``(*)``."""
    found = (cells.positives * _share_within(cells, k)).sum(axis=-1)
    return share(found, cells.n_positives[..., 0])


def value_detection_rate_of(cells: ScoreCells, *, k: int) -> FloatArray:
    """Return the share of positive value among the first ``k`` rows per set of counts -> ``(*)``.

    Raises:
        ValueError: If the counts carry no amounts.
    """
    if cells.positive_amount is None:
        raise ValueError("value_detection_rate needs amounts. Pass amount when counting cells.")
    found = (cells.positive_amount * _share_within(cells, k)).sum(axis=-1)
    return share(found, cells.positive_amount.sum(axis=-1))


def card_precision_at_k(
    label: ArrayLike,
    score: ArrayLike,
    *,
    day: ArrayLike,
    card: ArrayLike,
    k: int,
    drop_found_cards: bool = True,
) -> float:
    """Return the share of defrauded cards among the ``k`` riskiest cards of a day, averaged.

    A card's score is the highest of its rows that day; it is defrauded when one of them is. The
    measure of the Fraud Detection Handbook: a card once found is blocked and leaves later days.
    Of cards with one score the one that comes first in ``card``'s order is looked at.

    Args:
        label: 0 or 1 per row.
        score: Higher means riskier.
        day: Day of each row; any sortable value.
        card: Whose row it is; any sortable value.
        k: Cards that can be looked at in a day; the divisor even on a day with fewer cards.
        drop_found_cards: Whether a card found to be defrauded is left out of later days.

    Raises:
        ValueError: If there is no positive or ``k`` is below 1.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1. Got k={k}.")
    labels = check_labels(label)
    scores = check_scores(score, len(labels))
    cards = np.unique(np.asarray(card), return_inverse=True)[1].astype(np.int64)
    days = np.unique(np.asarray(day), return_inverse=True)[1].astype(np.int64)
    found = np.zeros(int(cards.max()) + 1, dtype=bool)
    precisions = []
    for rows in _rows_by_day(days):
        live = rows[~found[cards[rows]]]
        hits = _defrauded_among_top(labels[live], scores[live], cards[live], k)
        precisions.append(len(hits) / k)
        if drop_found_cards:
            found[hits] = True
    return float(np.mean(precisions))


def _share_within(cells: ScoreCells, k: int) -> FloatArray:
    rows = cells.positives + cells.negatives
    above = rows.cumsum(axis=-1) - rows
    return np.clip(np.nan_to_num(share(k - above, rows)), 0.0, 1.0)


def _check_k(k: int, cells: ScoreCells) -> None:
    n_rows = int(cells.positives.sum() + cells.negatives.sum())
    if not 1 <= k <= n_rows:
        raise ValueError(f"k must be between 1 and the number of rows ({n_rows}). Got k={k}.")


def _rows_by_day(day: IntArray) -> list[IntArray]:
    order = np.argsort(day, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(day[order])) + 1)


def _defrauded_among_top(
    label: IntArray, score: FloatArray, card: IntArray, k: int
) -> NDArray[np.int64]:
    cards, place = np.unique(card, return_inverse=True)
    highest = np.full(len(cards), -np.inf)
    np.maximum.at(highest, place, score)
    is_defrauded = np.bincount(place, weights=label, minlength=len(cards)) > 0
    top = np.argsort(-highest, kind="stable")[:k]
    return cards[top[is_defrauded[top]]]

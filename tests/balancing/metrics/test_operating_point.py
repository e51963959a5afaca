"""Operating points against scikit-learn's curves."""

import numpy as np
import pytest
from sklearn.metrics import precision_recall_curve, roc_curve

from balancing.metrics.cells import count_cells
from balancing.metrics.operating_point import (
    alert_rate,
    false_positive_rate_at,
    precision_at,
    precision_at_recall,
    recall_at,
    recall_at_fpr,
    recall_at_precision_of,
)


@pytest.mark.parametrize("n_levels", [1, 4, 1000])
@pytest.mark.parametrize("limit", [0.001, 0.05, 0.3, 1.0])
def test_operating_points_equal_the_best_point_of_scikit_learns_curves(
    n_levels: int, limit: float
) -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        label = rng.permutation(np.arange(300) < 40).astype(int)
        score = np.round((rng.normal(size=300) + label) * n_levels)
        fpr, tpr, _ = roc_curve(label, score, drop_intermediate=False)
        precision, recall, _ = precision_recall_curve(label, score)

        cells = count_cells(label, score)
        reached = recall[:-1][precision[:-1] >= limit]  # the last point is of no threshold
        assert recall_at_fpr(label, score, max_fpr=limit) == tpr[fpr <= limit].max()
        assert recall_at_precision_of(cells, min_precision=limit) == pytest.approx(
            reached.max(initial=0.0)
        )
        assert precision_at_recall(label, score, min_recall=limit) == pytest.approx(
            precision[recall >= limit].max()
        )


def test_worked_rates_at_a_threshold() -> None:
    """A score at the threshold is an alert."""
    label, score = [0, 0, 0, 0, 1, 1], [0.1, 0.2, 0.5, 0.3, 0.5, 0.4]

    assert alert_rate(score, threshold=0.5) == pytest.approx(2 / 6)
    assert false_positive_rate_at(label, score, threshold=0.5) == 1 / 4
    assert recall_at(label, score, threshold=0.5) == 1 / 2
    assert precision_at(label, score, threshold=0.5) == 1 / 2


def test_precision_without_alerts_is_unknown() -> None:
    assert np.isnan(precision_at([0, 1], [0.1, 0.2], threshold=0.9))


def test_recall_is_zero_where_a_negative_shares_the_highest_score() -> None:
    assert recall_at_fpr([0, 0, 1], [1, 0, 1], max_fpr=0.4) == 0.0


@pytest.mark.parametrize("limit", [0.0, -0.1, 1.5, float("nan")])
def test_a_share_outside_its_range_is_refused(limit: float) -> None:
    with pytest.raises(ValueError, match=r"max_fpr must be in \(0, 1\]"):
        recall_at_fpr([0, 1], [0, 1], max_fpr=limit)
    with pytest.raises(ValueError, match=r"min_recall must be in \(0, 1\]"):
        precision_at_recall([0, 1], [0, 1], min_recall=limit)


def test_no_positive_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one positive"):
        recall_at([0, 0], [0.1, 0.2], threshold=0.1)

"""Curves: thinned, yet on the points that scikit-learn finds."""

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from balancing.curves import (
    MAX_POINTS,
    log_odds_of,
    precision_recall_curve,
    reliability_curve,
    roc_curve,
    score_histogram,
)


def rows(n_rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    score = 1 / (1 + np.exp(-rng.normal(-4, 2.5, n_rows)))
    return (rng.random(n_rows) < score).astype(int), score


def test_small_data_keep_every_point_of_scikit_learns_curves() -> None:
    label, score = rows(60)
    fpr, tpr, _ = sklearn_metrics.roc_curve(label, score, drop_intermediate=False)
    precision, recall, _ = sklearn_metrics.precision_recall_curve(label, score)
    roc, ours = roc_curve(label, score), precision_recall_curve(label, score)

    np.testing.assert_allclose(roc.false_positive_rate, fpr[1:])
    np.testing.assert_allclose(roc.recall, tpr[1:])
    np.testing.assert_allclose(ours.recall[::-1], recall[:-1])
    np.testing.assert_allclose(ours.precision[::-1], precision[:-1])


def test_large_data_are_thinned_to_points_of_the_curve_ends_included() -> None:
    label, score = rows(50_000)
    curve = roc_curve(label, score)
    at = curve.threshold[17]

    assert 100 < len(curve.recall) <= MAX_POINTS + 1
    assert curve.recall[17] == pytest.approx((label[score >= at]).sum() / label.sum())
    assert curve.threshold[0] == score.max()
    assert curve.recall[-1] == curve.false_positive_rate[-1] == 1.0


def test_reliability_counts_every_row_and_covers_a_calibrated_score() -> None:
    label, score = rows(50_000)
    curve = reliability_curve(label, score)
    sure = curve.n_rows > 200
    inside = (curve.low <= curve.predicted) & (curve.predicted <= curve.high)

    assert curve.n_rows.sum() == 50_000
    assert inside[sure].mean() >= 0.8


def test_the_histogram_counts_every_row_of_each_class() -> None:
    label, score = rows(5000)
    histogram = score_histogram(label, np.append(score[:-2], [0.0, 1.0]))

    assert histogram.positives.sum() == label.sum()
    assert histogram.negatives.sum() == 5000 - label.sum()
    assert len(histogram.edges) == len(histogram.positives) + 1


def test_log_odds_stay_within_what_is_shown() -> None:
    assert log_odds_of(np.array([0.0, 0.5, 1.0])).tolist() == [-13.8, 0.0, 13.8]


def test_a_constant_score_has_one_point() -> None:
    curve = precision_recall_curve([0, 1, 0], [0.5, 0.5, 0.5])

    assert curve.recall.tolist() == [1.0]
    assert curve.precision == pytest.approx([1 / 3])

"""What each re-sampling method leaves and makes, and what it does where it cannot work."""

import logging
import sys

import numpy as np
import pytest

from balancing.extras import MissingExtra
from balancing.resampling import _STEPS, resample

MAKING = ["smote", "borderline_smote", "svm_smote", "adasyn"]
DROPPING = ["random_under", "nearmiss"]


def _rows(n_positives: int = 30, n_rows: int = 300):
    rng = np.random.default_rng(0)
    points = rng.normal(size=(n_rows, 3)).astype(np.float32)
    label = np.zeros(n_rows, dtype=np.int64)
    label[:n_positives] = 1
    points[:n_positives, 0] += 1.5
    return points, label


def _sample(method: str, *, sizes=(270, 135), n_positives: int = 30):
    points, label = _rows(n_positives)
    return points, label, resample(points, label, method=method, sizes=sizes, seed=0)


@pytest.mark.parametrize("method", ["random_over", *MAKING])
def test_oversampling_adds_positives_and_keeps_every_row(method):
    points, label, sample = _sample(method)

    assert sample.sizes[0] == 270
    assert sample.sizes[1] == pytest.approx(135, abs=6)
    assert np.array_equal(sample.points[:300], points)
    assert np.array_equal(sample.label[:300], label)
    assert np.array_equal(sample.origin[:300], np.arange(300))


@pytest.mark.parametrize("method", MAKING)
def test_made_up_rows_come_from_the_nearest_row_of_their_class(method):
    points, label, sample = _sample(method)
    made, origin = sample.points[300:], sample.origin[300:]

    distance = np.linalg.norm(made[:, None] - points[None, label == 1], axis=2)

    assert (label[origin] == 1).all()
    assert np.array_equal(origin, np.flatnonzero(label == 1)[distance.argmin(axis=1)])


def test_smote_stays_on_segments_between_positives():
    points, label, sample = _sample("smote")
    positives = points[label == 1].astype(np.float64)

    for row in sample.points[300:310]:
        detour = np.linalg.norm(row - positives, axis=1)
        whole = np.linalg.norm(positives[:, None] - positives[None], axis=2)
        assert np.abs(detour[:, None] + detour[None] - whole).min() < 1e-5


@pytest.mark.parametrize("method", DROPPING)
def test_undersampling_drops_negatives_only(method):
    points, label, sample = _sample(method, sizes=(60, 30))

    assert sample.sizes == (60, 30)
    assert set(np.flatnonzero(label == 1)) <= set(sample.origin)
    assert len(set(sample.origin)) == 90
    assert np.array_equal(sample.points, points[sample.origin])


def test_cluster_centroids_stand_in_for_negatives():
    points, label, sample = _sample("cluster_centroids", sizes=(60, 30))

    assert sample.sizes == (60, 30)
    assert np.array_equal(sample.points[sample.label == 1], points[label == 1])
    assert (label[sample.origin] == sample.label).all()


def test_allknn_cleans_negatives_only():
    _, label, sample = _sample("allknn")

    assert sample.sizes[1] == 30
    assert 30 < sample.sizes[0] < 270
    assert (label[sample.origin] == sample.label).all()


def test_smoteenn_is_that_of_imbalanced_learn():
    from imblearn.combine import SMOTEENN

    points, label, sample = _sample("smoteenn", sizes=(270, 270))

    expected, expected_label = SMOTEENN(random_state=0).fit_resample(points, label)

    assert np.array_equal(sample.points, expected)
    assert np.array_equal(sample.label, expected_label)


@pytest.mark.parametrize("method", list(_STEPS))
@pytest.mark.parametrize("n_positives", [1, 2, 4, 298])
def test_few_rows_of_a_class_are_enough(method, n_positives):
    sizes = (300 - n_positives, max(n_positives, 20))
    if method in {*DROPPING, "cluster_centroids"}:
        sizes = (min(2, 300 - n_positives), n_positives)

    points, _, sample = _sample(method, sizes=sizes, n_positives=n_positives)

    assert min(sample.sizes) >= 1
    assert np.isfinite(sample.points).all()
    assert sample.points.dtype == points.dtype


@pytest.mark.parametrize("method", list(_STEPS))
def test_constant_rows_are_enough(method):
    points, label = np.zeros((60, 1), dtype=np.float32), np.repeat([1, 0], [10, 50])
    sizes = (20, 10) if method in {*DROPPING, "cluster_centroids"} else (50, 25)

    sample = resample(points, label, method=method, sizes=sizes, seed=0)

    assert min(sample.sizes) >= 1
    assert (sample.points == 0).all()


def test_what_cannot_work_is_random_and_says_so(caplog):
    with caplog.at_level(logging.WARNING):
        points, _, sample = _sample("smote", sizes=(299, 100), n_positives=1)

    (record,) = caplog.records
    assert (record.method, record.instead) == ("smote", "random_over")
    assert "one positive row only" in record.reason
    assert sample.sizes == (299, 100)
    assert (sample.points[sample.label == 1] == points[0]).all()


def test_fewer_neighbours_are_asked_where_there_are_few_and_it_says_so(caplog):
    with caplog.at_level(logging.INFO):
        _, _, sample = _sample("smote", sizes=(297, 100), n_positives=3)

    (record,) = caplog.records
    assert (record.usual, record.available) == (5, 2)
    assert sample.sizes == (297, 100)


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "imblearn", None)

    with pytest.raises(MissingExtra, match=r"Re-sampling by smote .* 'whitecrow\[resampling\]'"):
        _sample("smote")

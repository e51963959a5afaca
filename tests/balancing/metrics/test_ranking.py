"""Ranking metrics against scikit-learn, with and without ties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from balancing.metrics.ranking import average_precision, roc_auc


def drawn(seed: int, n_rows: int, n_levels: int, dtype: type) -> tuple[np.ndarray, np.ndarray]:
    """Rows with about a fifth positives and scores on ``n_levels`` levels, so with many ties."""
    rng = np.random.default_rng(seed)
    label = np.append(rng.integers(0, 5, n_rows - 2) == 0, [True, False]).astype(np.int8)
    score = (rng.normal(size=n_rows) + label) * n_levels
    return label, (np.round(score) / n_levels).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_levels", [1, 5, 10_000])
@pytest.mark.parametrize("n_rows", [3, 50, 5000])
def test_ranking_metrics_equal_scikit_learn(n_rows: int, n_levels: int, dtype: type) -> None:
    for seed in range(5):
        label, score = drawn(seed, n_rows, n_levels, dtype)

        assert average_precision(label, score) == pytest.approx(
            average_precision_score(label, score), abs=1e-12
        )
        assert roc_auc(label, score) == pytest.approx(roc_auc_score(label, score), abs=1e-12)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(-3, 3)), min_size=2, max_size=30).filter(
        lambda rows: len({label for label, _ in rows}) == 2
    )
)
def test_ranking_metrics_equal_scikit_learn_on_tiny_tied_data(rows: list[tuple[int, int]]) -> None:
    label, score = (np.array(column) for column in zip(*rows, strict=True))

    assert average_precision(label, score) == pytest.approx(average_precision_score(label, score))
    assert roc_auc(label, score) == pytest.approx(roc_auc_score(label, score))


def test_worked_average_precision() -> None:
    """Found at ranks 1 and 3: (1/1 + 2/3) / 2."""
    assert average_precision([1, 0, 1, 0], [4, 3, 2, 1]) == pytest.approx((1 + 2 / 3) / 2)


def test_a_constant_score_ranks_like_the_prevalence() -> None:
    label = np.array([1, 0, 0, 0])

    assert average_precision(label, np.zeros(4)) == 0.25
    assert roc_auc(label, np.zeros(4)) == 0.5


def test_all_positive_has_average_precision_one_and_no_roc_auc() -> None:
    assert average_precision([1, 1], [0.2, 0.1]) == 1.0
    with pytest.raises(ValueError, match="at least one negative. Got 0 among 2 rows"):
        roc_auc([1, 1], [0.2, 0.1])


@pytest.mark.parametrize(
    ("label", "score", "message"),
    [
        ([0, 0, 0], [1, 2, 3], "at least one positive. Got 0 among 3 rows"),
        ([0, 2, 1], [1, 2, 3], "label must hold 0 and 1 only. Got 2"),
        ([], [], "label must be one-dimensional with rows"),
        ([[0, 1]], [[1, 2]], "label must be one-dimensional with rows"),
        ([0, 1], [1, 2, 3], "score must have one value per label"),
        ([0, 1], [1, np.nan], "score must not hold NaN. Got 1"),
    ],
)
def test_unusable_rows_are_refused(label: list[int], score: list[float], message: str) -> None:
    for metric in (average_precision, roc_auc):
        with pytest.raises(ValueError, match=message):
            metric(label, score)

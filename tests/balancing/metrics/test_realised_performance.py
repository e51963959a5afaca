"""Explored rows stand for the declines that nobody could label."""

import numpy as np
import pytest

from balancing.metrics.ranking import average_precision
from balancing.metrics.realised_performance import realised_performance


def test_plain_figures_are_those_of_the_labels() -> None:
    found = realised_performance([1, 0, 1, 0], [0.9, 0.8, 0.3, 0.1], [True, True, False, False])

    assert found.positives == 2
    assert (found.precision.value, found.recall.value) == (0.5, 0.5)
    assert found.average_precision.value == average_precision([1, 0, 1, 0], [0.9, 0.8, 0.3, 0.1])


def test_a_weight_counts_like_as_many_rows() -> None:
    label, score = np.array([1, 0, 1, 0]), np.array([0.9, 0.8, 0.3, 0.1])
    alert, weight = score > 0.5, np.array([1, 3, 2, 1])
    repeated = np.repeat(np.arange(4), weight)

    weighted = realised_performance(label, score, alert, weight=weight)
    plain = realised_performance(label[repeated], score[repeated], alert[repeated])

    for name in ("precision", "recall", "average_precision"):
        assert getattr(weighted, name).value == pytest.approx(getattr(plain, name).value)
    assert weighted.positives == 3


def test_exploration_undoes_what_declines_hide() -> None:
    rng = np.random.default_rng(0)
    score = rng.beta(0.3, 3, 60_000)
    label = (rng.random(60_000) < score).astype(int)
    alert, declined = score >= 0.2, score >= 0.5
    explored = declined & (rng.random(60_000) < 0.1)
    is_labelled = ~declined | explored
    truth = realised_performance(label, score, alert)

    hidden = realised_performance(label[is_labelled], score[is_labelled], alert[is_labelled])
    weight = np.where(explored, 10.0, 1.0)[is_labelled]
    seen = realised_performance(
        label[is_labelled], score[is_labelled], alert[is_labelled], weight=weight
    )

    for name in ("precision", "recall", "average_precision"):
        true, weighted = getattr(truth, name).value, getattr(seen, name)
        assert weighted.low <= true <= weighted.high, name
    assert hidden.recall.high < truth.recall.value - 0.05
    assert hidden.average_precision.high < truth.average_precision.value - 0.05


def test_a_row_that_counts_for_less_than_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 0"):
        realised_performance([1, 0], [0.5, 0.4], [True, False], weight=[1, -1])
    with pytest.raises(ValueError, match="at least one positive"):
        realised_performance([0, 0], [0.5, 0.4], [True, False])

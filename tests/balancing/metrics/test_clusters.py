"""Rows of one cluster are one draw: copies of a row are no more evidence than the row."""

import numpy as np
import pytest

from balancing.metrics.intervals import Interval, bootstrap_interval, paired_difference
from balancing.metrics.loss_intervals import mean_interval
from balancing.metrics.ranking import average_precision_of

N_ROWS, N_COPIES = 400, 9


def width(interval: Interval) -> float:
    return interval.high - interval.low


@pytest.fixture
def rows() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, a good score and a worse one."""
    rng = np.random.default_rng(0)
    label = (rng.random(N_ROWS) < 0.2).astype(int)
    good, worse = label + rng.normal(size=N_ROWS), 0.5 * label + rng.normal(size=N_ROWS)
    return label, good, worse


def test_copies_of_rows_leave_a_ranking_interval_as_it_is(rows) -> None:
    label, good, worse = rows
    once = paired_difference(label, good, worse, average_precision_of)

    copied = [np.tile(each, N_COPIES) for each in rows]
    of_clusters, of_rows = (
        paired_difference(*copied, average_precision_of, cluster=cluster)
        for cluster in (np.tile(np.arange(N_ROWS), N_COPIES), None)
    )

    assert of_clusters.value == pytest.approx(once.value)
    assert width(of_clusters) == pytest.approx(width(once), rel=0.1)
    # Drawn one by one they look like nine times the evidence.
    assert width(of_rows) == pytest.approx(width(once) / 3, rel=0.15)


def test_copies_of_rows_leave_a_mean_as_it_is(rows) -> None:
    _, value, _ = rows
    once, copied = mean_interval(value), np.tile(value, N_COPIES)

    of_clusters = mean_interval(copied, cluster=np.tile(np.arange(N_ROWS), N_COPIES))

    assert of_clusters.value == pytest.approx(once.value)
    assert width(of_clusters) == pytest.approx(width(once), rel=0.1)
    assert width(mean_interval(copied)) == pytest.approx(width(once) / 3, rel=0.15)


def test_rows_that_are_clusters_of_their_own_are_drawn_as_rows(rows) -> None:
    label, good, _ = rows
    alone = [f"card {i}" for i in range(N_ROWS)]

    of_clusters = bootstrap_interval(label, good, average_precision_of, cluster=alone)

    of_rows = bootstrap_interval(label, good, average_precision_of)
    assert of_clusters.value == of_rows.value
    assert width(of_clusters) == pytest.approx(width(of_rows), rel=0.1)


def test_each_row_needs_a_cluster(rows) -> None:
    label, good, _ = rows

    with pytest.raises(ValueError, match=r"cluster must have one value per label \(400\)"):
        bootstrap_interval(label, good, average_precision_of, cluster=[1, 2])

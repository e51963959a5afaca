"""Bootstrap intervals against resampling row by row."""

import json
from functools import partial

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from balancing.metrics.alerts import precision_at_k_of, value_detection_rate_of
from balancing.metrics.cells import count_cells
from balancing.metrics.intervals import (
    Interval,
    bootstrap_interval,
    bootstrap_intervals,
    mean_paired_difference,
    paired_difference,
)
from balancing.metrics.operating_point import precision_at_recall_of, recall_at_fpr_of
from balancing.metrics.ranking import average_precision_of, roc_auc_of

STATISTICS = {
    "average_precision": average_precision_of,
    "roc_auc": roc_auc_of,
    "recall_at_fpr": partial(recall_at_fpr_of, max_fpr=0.02),
    "precision_at_recall": partial(precision_at_recall_of, min_recall=0.5),
    "precision_at_k": partial(precision_at_k_of, k=40),
    "value_detection_rate": partial(value_detection_rate_of, k=40),
}


def rows(seed: int, n_rows: int = 2000, *, n_levels: float = 8) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    label = rng.permutation(np.arange(n_rows) < n_rows // 40).astype(int)
    score = np.round((rng.normal(size=n_rows) + 2 * label) * n_levels) / n_levels
    return label, score, rng.integers(100, 9000, n_rows)


@pytest.mark.parametrize("n_levels", [2, 8, 1e6])
def test_a_statistic_over_merged_cells_equals_the_one_over_every_score(n_levels: float) -> None:
    label, score, amount = rows(0, n_levels=n_levels)
    intervals = bootstrap_intervals(label, score, STATISTICS, amount=amount, n_replicates=2)
    cells = count_cells(label, score, amount=amount)

    for name, statistic in STATISTICS.items():
        assert intervals[name].value == pytest.approx(float(statistic(cells)), abs=1e-12), name


def test_intervals_agree_with_resampling_row_by_row() -> None:
    label, score, amount = rows(1)
    found = bootstrap_intervals(label, score, STATISTICS, amount=amount, n_replicates=2000, seed=3)
    rng = np.random.default_rng(4)
    drawn: dict[str, list[float]] = {name: [] for name in STATISTICS}
    for _ in range(600):
        picked = rng.integers(0, len(label), len(label))
        cells = count_cells(label[picked], score[picked], amount=amount[picked])
        for name, statistic in STATISTICS.items():
            drawn[name].append(float(statistic(cells)))

    for name, values in drawn.items():
        low, high = np.quantile(values, [0.025, 0.975])
        spread = 0.25 * (high - low)
        assert found[name].low == pytest.approx(low, abs=spread), name
        assert found[name].high == pytest.approx(high, abs=spread), name


def test_an_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """The true ROC-AUC of two normals one apart is 0.7602; 200 samples, 95 % intervals."""
    hits = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        label = np.arange(400) < 60
        score = rng.normal(size=400) + label
        interval = bootstrap_interval(label, score, roc_auc_of, n_replicates=200, seed=seed)
        hits += interval.low <= 0.7602 <= interval.high

    assert 0.88 <= hits / 200 <= 0.99


def test_the_seed_decides_the_interval() -> None:
    label, score, _ = rows(2)
    first, again, other = (
        bootstrap_interval(label, score, roc_auc_of, n_replicates=50, seed=seed)
        for seed in (1, 1, 2)
    )

    assert first == again
    assert first != other


def test_a_score_against_itself_differs_by_exactly_nothing() -> None:
    label, score, _ = rows(3)

    assert paired_difference(label, score, score, average_precision_of) == Interval(0, 0, 0)


def test_pairing_narrows_the_difference() -> None:
    """Two scores that share most of their noise: their difference is surer than either."""
    label, score, _ = rows(4, n_levels=1e6)
    noisy = score + np.random.default_rng(0).normal(size=len(score)) * 0.2
    difference = paired_difference(label, score, noisy, average_precision_of)
    alone = bootstrap_interval(label, score, average_precision_of)
    other = bootstrap_interval(label, noisy, average_precision_of)

    assert difference.value == pytest.approx(alone.value - other.value)
    assert difference.high - difference.low < 0.6 * (alone.high - alone.low)


def test_one_positive_gives_an_interval_over_the_resamples_that_have_it() -> None:
    interval = bootstrap_interval([0, 0, 1, 0], [1, 2, 3, 4], roc_auc_of, n_replicates=300)

    assert interval.value == pytest.approx(2 / 3)
    assert 0 <= interval.low <= interval.high <= 1


def test_no_positive_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one positive"):
        bootstrap_interval([0, 0], [1, 2], average_precision_of)


def test_a_value_rate_without_amounts_is_refused() -> None:
    with pytest.raises(ValueError, match="value_detection_rate needs amounts"):
        bootstrap_interval([0, 1], [1, 2], partial(value_detection_rate_of, k=1))


def test_an_interval_travels_as_json_with_null_for_unknown() -> None:
    adapter = TypeAdapter(Interval)
    text = adapter.dump_json(Interval(0.5, float("nan"), 1.0))

    assert json.loads(text) == {"value": 0.5, "low": None, "high": 1.0}
    assert np.isnan(adapter.validate_json(text).low)
    with pytest.raises(ValidationError, match="hihg"):
        adapter.validate_json('{"value": 1, "low": 1, "hihg": 1}')


def test_an_interval_reads_well() -> None:
    assert str(Interval(0.81234, 0.7, 0.9)) == "0.8123 [0.7, 0.9]"


def test_the_mean_of_paired_differences_is_joint_over_repetitions():
    rng = np.random.default_rng(5)
    label = (rng.random(600) < 0.1).astype(int)
    ours = [label + 0.5 * rng.normal(size=600) for _ in range(6)]
    theirs = [label + 1.0 * rng.normal(size=600) for _ in range(6)]

    joint = mean_paired_difference(label, ours, theirs, average_precision_of)

    single = [
        paired_difference(label, mine, other, average_precision_of)
        for mine, other in zip(ours, theirs, strict=True)
    ]
    assert joint.value == pytest.approx(np.mean([each.value for each in single]))
    assert joint.high - joint.low < np.mean([each.high - each.low for each in single])
    assert mean_paired_difference(label, ours[:1], theirs[:1], average_precision_of) == single[0]

"""Intervals of losses, which group rows that are alike, against resampling row by row."""

import numpy as np
import pytest

from balancing.metrics.calibration_quality import (
    brier_score,
    expected_calibration_error,
    log_loss,
    reference_log_loss,
)
from balancing.metrics.loss_intervals import RowGroups, calibration_intervals, mean_interval


def rows(seed: int, n_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Calibrated probabilities of a rare class with a few high ones."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(-6, 1.5, n_rows) + (rng.random(n_rows) < 0.01) * 6
    probability = 1 / (1 + np.exp(-odds))
    return (rng.random(n_rows) < probability).astype(int), probability


def test_values_are_those_of_the_plain_metrics() -> None:
    label, probability = rows(0, 30_000)
    found = calibration_intervals(label, probability, n_replicates=10)

    assert found["brier_score"].value == pytest.approx(brier_score(label, probability), rel=1e-9)
    assert found["log_loss"].value == pytest.approx(log_loss(label, probability), rel=1e-9)
    assert found["expected_calibration_error"].value == pytest.approx(
        expected_calibration_error(label, probability), rel=1e-9
    )
    assert found["log_loss_skill"].value == pytest.approx(
        1 - log_loss(label, probability) / reference_log_loss(label.mean()), rel=1e-9
    )


def test_grouping_rows_leaves_the_spread_of_a_mean_as_it_is() -> None:
    """The standard error of a mean is known; the grouped bootstrap must find it."""
    rng = np.random.default_rng(1)
    value = rng.normal(size=40_000) ** 3
    interval = mean_interval(value, n_replicates=4000, seed=2)
    expected = 2 * 1.96 * value.std() / np.sqrt(len(value))

    assert interval.value == pytest.approx(value.mean())
    assert interval.high - interval.low == pytest.approx(expected, rel=0.08)


def test_small_data_are_not_grouped_and_large_ones_are() -> None:
    assert RowGroups.by(np.arange(500.0)).sizes.max() == 1
    sizes = RowGroups.by(np.arange(100_000.0)).sizes
    assert sizes.sum() == 100_000
    assert len(sizes) == 2 * 2048 + 4096


def test_a_calibrated_score_beats_the_prevalence_and_a_constant_does_not() -> None:
    label, probability = rows(3, 20_000)
    constant = np.full(len(label), label.mean())

    assert calibration_intervals(label, probability)["log_loss_skill"].low > 0
    assert calibration_intervals(label, constant)["log_loss_skill"].high <= 1e-9


def test_the_calibration_error_lies_within_its_interval() -> None:
    label, probability = rows(4, 20_000)
    error = calibration_intervals(label, probability)["expected_calibration_error"]

    assert 0 <= error.low <= error.value <= error.high


def test_a_mean_of_nothing_is_refused() -> None:
    for value in ([], [1.0, np.nan], [[1.0]]):
        with pytest.raises(ValueError, match="value must be finite, one per row"):
            mean_interval(value)

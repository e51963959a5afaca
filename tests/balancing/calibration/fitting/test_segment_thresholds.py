"""Thresholds by segment: shrunk, monotone, met by all rows together, with intervals and reasons."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balancing.calibration.fitting.calibrators import CalibrationError
from balancing.calibration.fitting.segment_thresholds import MOST_SEGMENTS, tune_segments
from balancing.calibration.fitting.thresholds import tune_threshold
from balancing.calibration.thresholds import SegmentThreshold
from infra.objectives import (
    AlertBudgetObjective,
    MaxFprObjective,
    MinPrecisionObjective,
    MinRecallObjective,
)

FEW = 10
DAYS = 10.0
NAMES = ["mail", "shop", "tiny", "web"]
OBJECTIVES: list[Any] = [
    MaxFprObjective(max_fpr=0.02),
    MinPrecisionObjective(min_precision=0.5),
    MinRecallObjective(min_recall=0.6),
    AlertBudgetObjective(alerts_per_day=60),
]


@pytest.fixture(scope="module")
def rows() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shop scores lie low, web scores high, mail between; tiny has twelve rows, some have none."""
    rng = np.random.default_rng(0)
    segment = rng.choice(["shop", "web", "mail", None], 20_000, p=[0.5, 0.3, 0.19, 0.01])
    segment[:12] = "tiny"
    place = np.array(
        [{"shop": -7.0, "web": -5.0, "mail": -6.0}.get(each, -6.0) for each in segment]
    )
    odds = place + rng.normal(0, 1.3, len(segment))
    label = (rng.random(len(segment)) < 0.02).astype(np.int64)
    score = 1 / (1 + np.exp(-(odds + 4 * label)))
    return label, score, segment


def tuned(rows: Any, objective: Any, **options: Any) -> dict[str, SegmentThreshold]:
    label, score, segment = rows
    overall = tune_threshold(label, score, objective, days=DAYS, n_replicates=FEW).threshold
    arguments = {"threshold": overall, "days": DAYS, "n_replicates": FEW} | options
    found = tune_segments(label, score, segment, objective, **arguments).thresholds
    assert found is not None
    return {each.segment: each for each in found}


def alerts(rows: Any, objective: Any) -> np.ndarray:
    label, score, segment = rows
    overall = tune_threshold(label, score, objective, days=DAYS, n_replicates=FEW).lowest_score
    own = {name: each.threshold for name, each in tuned(rows, objective).items()}
    lowest = [own.get(each, overall) if each is not None else overall for each in segment]
    return score >= np.array(lowest, dtype=np.float64)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda each: each.objective)
def test_all_rows_together_meet_the_objective(rows: Any, objective: Any) -> None:
    label = rows[0]
    is_alert = alerts(rows, objective)
    n_caught, n_alerts = (is_alert & (label == 1)).sum(), is_alert.sum()

    match objective:
        case MaxFprObjective(max_fpr=limit):
            assert 0.9 * limit < (n_alerts - n_caught) / (label == 0).sum() <= limit
        case MinPrecisionObjective(min_precision=limit):
            assert limit <= n_caught / n_alerts < limit + 0.1
        case MinRecallObjective(min_recall=limit):
            assert limit <= n_caught / label.sum() < limit + 0.1
        case AlertBudgetObjective(alerts_per_day=budget):
            assert 0.9 * budget < n_alerts / DAYS <= budget


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda each: each.objective)
def test_a_large_segment_decides_for_itself_and_a_small_one_as_all_do(
    rows: Any, objective: Any
) -> None:
    found = tuned(rows, objective)

    assert list(found) == NAMES
    assert found["shop"].weight > 0.5 > found["tiny"].weight
    assert found["tiny"].n_rows == 12


def test_equal_rates_need_a_lower_threshold_where_scores_lie_lower(rows: Any) -> None:
    label, score, _ = rows
    found = tuned(rows, MaxFprObjective(max_fpr=0.02))
    overall = tune_threshold(label, score, MaxFprObjective(max_fpr=0.02), n_replicates=FEW)

    assert found["shop"].threshold < overall.threshold < found["web"].threshold
    assert found["shop"].achieved.false_positive_rate == pytest.approx(0.02, rel=0.15)
    assert found["web"].achieved.false_positive_rate == pytest.approx(0.02, rel=0.15)


def test_a_segment_twice_as_large_lies_further_from_the_global_threshold(rows: Any) -> None:
    """The same scores, more of them: the estimate follows its own rows further."""
    label, score, segment = rows
    few = tuned((label, score, np.where(np.arange(20_000) % 10 == 0, segment, None)), OBJECTIVES[0])
    many = tuned(rows, OBJECTIVES[0])

    assert few["web"].weight < many["web"].weight


limits = st.floats(0.005, 0.5)


@settings(max_examples=25)
@given(st.tuples(limits, limits).map(sorted), st.integers(0, 2))
def test_thresholds_of_segments_are_monotone_in_their_objective(
    two: list[float], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    segment = rng.choice(np.array(["a", "b", "c"], dtype=object), 3000, p=[0.6, 0.3, 0.1])
    shift = np.array([{"a": 0.0, "b": 1.0, "c": 2.0}[each] for each in segment])
    label = (rng.random(3000) < 0.05).astype(np.int64)
    made = label, 1 / (1 + np.exp(-(rng.normal(-4, 1, 3000) + shift + 3 * label))), segment
    small, large = two
    kinds: list[tuple[Any, Any, int]] = [
        (MaxFprObjective(max_fpr=small), MaxFprObjective(max_fpr=large), 1),
        (MinRecallObjective(min_recall=small), MinRecallObjective(min_recall=large), 1),
        (AlertBudgetObjective(alerts_per_day=290 * small),
         AlertBudgetObjective(alerts_per_day=290 * large), 1),
        (MinPrecisionObjective(min_precision=small),
         MinPrecisionObjective(min_precision=large), -1),
    ]  # fmt: skip
    for first, second, sign in kinds:
        one, other = tuned(made, first), tuned(made, second)
        for name in one:
            lower, higher = (
                np.inf if each[name].threshold is None else each[name].threshold
                for each in (one, other)
            )
            assert sign * lower >= sign * higher, (first, name)


def test_every_threshold_has_an_interval_around_it_and_follows_the_seed(rows: Any) -> None:
    first, again, other = (
        tuned(rows, OBJECTIVES[0], n_replicates=40, seed=seed) for seed in (0, 0, 1)
    )

    for each in first.values():
        assert each.interval.low <= each.threshold <= each.interval.high
        assert each.interval.low < each.interval.high
    assert [each.interval for each in first.values()] == [each.interval for each in again.values()]
    assert first["web"].interval != other["web"].interval


def test_a_threshold_says_why_it_was_chosen(rows: Any) -> None:
    found = tuned(rows, OBJECTIVES[0])["shop"]

    assert found.reason.startswith(f"max_fpr of 0.02: {found.achieved.n_alerts} alerts among ")
    assert f"hold {round(found.achieved.recall * found.n_positives)} of " in found.reason
    assert "own rows weigh 0.999, all rows 0.001" in found.reason


def test_segments_that_do_not_differ_share_the_global_threshold(rows: Any) -> None:
    label, score, _ = rows
    alternating = np.array(["even", "odd"], dtype=object)[np.arange(len(label)) % 2]
    found = tune_segments(label, score, alternating, OBJECTIVES[0], threshold=0.1)

    assert found.thresholds is None
    assert found.reason == "The 2 segments differ by no more than chance: they share it"


def test_one_segment_and_no_global_threshold_give_none(rows: Any) -> None:
    label, score, segment = rows
    one = np.full(len(label), "web", dtype=object)

    assert tune_segments(label, score, one, OBJECTIVES[0], threshold=0.1).thresholds is None
    assert tune_segments(label, score, segment, OBJECTIVES[0], threshold=None).thresholds is None


def test_a_segment_that_cannot_be_precise_enough_has_no_threshold() -> None:
    """The highest scores are all false alarms of 'noise'; those of 'signal' below are true."""
    rng = np.random.default_rng(0)
    segment = np.array(["noise", "signal"], dtype=object)[np.arange(6000) % 2]
    label = ((segment == "signal") & (rng.random(6000) < 0.1)).astype(np.int64)
    score = np.where(label == 1, rng.uniform(0.5, 0.98, 6000), rng.uniform(0, 0.4, 6000))
    is_false_alarm = (segment == "noise") & (rng.random(6000) < 0.02)
    score = np.where(is_false_alarm, rng.uniform(0.99, 1, 6000), score)
    found = tuned((label, score, segment), MinPrecisionObjective(min_precision=0.8))

    assert found["noise"].threshold is None
    assert "cannot be met here at any score" in found["noise"].reason
    assert found["signal"].threshold is not None
    assert found["signal"].threshold < 0.5


def test_too_many_segments_are_refused(rows: Any) -> None:
    label, score, _ = rows
    cards = np.array([f"card {at}" for at in np.arange(len(label)) % (MOST_SEGMENTS + 1)], object)

    with pytest.raises(CalibrationError, match="at most 200 segments. Got 201 among"):
        tune_segments(label, score, cards, OBJECTIVES[0], threshold=0.1)

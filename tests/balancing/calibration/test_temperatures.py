"""Class-dependent temperatures: identity at gamma 0, the two-class rule, rankings kept."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from balancing.calibration.temperatures import (
    apply_temperatures,
    class_dependent_temperatures,
    log_odds,
)
from balancing.metrics.ranking import average_precision

finite = st.floats(-50, 50, width=32)


@settings(max_examples=80)
@given(
    hnp.arrays(np.float32, st.tuples(st.integers(1, 8), st.just(4)), elements=finite),
    hnp.arrays(np.float64, 4, elements=st.floats(-20, 20)),
)
def test_gamma_zero_is_the_identity_to_the_last_bit(
    logits: np.ndarray, mean_logits: np.ndarray
) -> None:
    temperatures = class_dependent_temperatures([900, 100, 30, 1], gamma=0)

    applied = apply_temperatures(logits, temperatures, mean_logits)

    assert applied.tobytes() == logits.astype(np.float64).tobytes()


def test_temperatures_grow_with_rarity_and_the_largest_class_keeps_one() -> None:
    assert class_dependent_temperatures([900, 100, 900], gamma=0.5).tolist() == [1, 3, 1]
    assert class_dependent_temperatures([227_451, 394], gamma=0.2)[1] == pytest.approx(
        3.57, abs=0.01
    )


@settings(max_examples=60)
@given(
    hnp.arrays(np.float32, st.integers(2, 30), elements=finite),
    st.floats(0, 1),
    st.floats(-20, 20),
)
def test_two_classes_keep_their_ranking(odds: np.ndarray, gamma: float, mean_odds: float) -> None:
    logits = np.stack([-odds / 2, odds / 2], axis=1)
    temperatures = class_dependent_temperatures([600, 1], gamma)

    applied = log_odds(apply_temperatures(logits, temperatures, [-mean_odds / 2, mean_odds / 2]))

    order = np.argsort(odds, kind="stable")
    assert (np.diff(applied[order]) >= 0).all()


def test_two_classes_keep_their_average_precision() -> None:
    rng = np.random.default_rng(0)
    label = np.arange(500) < 20
    odds = (rng.normal(-6, 2, 500) + 4 * label).astype(np.float32)
    logits = np.stack([-odds / 2, odds / 2], axis=1)
    temperatures = class_dependent_temperatures([480, 20], gamma=0.4)
    applied = apply_temperatures(logits, temperatures, logits.mean(axis=0))

    assert average_precision(label, log_odds(applied)) == average_precision(label, odds)


@settings(max_examples=60)
@given(st.floats(-30, 30), st.floats(0, 1), st.floats(-20, -0.5))
def test_two_classes_move_the_threshold_to_the_published_rule(
    odds: float, gamma: float, mean_odds: float
) -> None:
    """The row is positive when d >= m (1 - 2 / (1 + a))."""
    temperatures = class_dependent_temperatures([600, 1], gamma)
    limit = mean_odds * (1 - 2 / (1 + temperatures[1]))
    applied = log_odds(
        apply_temperatures([[-odds / 2, odds / 2]], temperatures, [-mean_odds / 2, mean_odds / 2])
    )

    if abs(odds - limit) > 1e-6:
        assert (applied[0] >= 0) == (odds >= limit)


def test_three_classes_can_change_their_ranking() -> None:
    temperatures = class_dependent_temperatures([100, 10, 1], gamma=1)
    logits = np.array([[0.0, 1.0, 0.9]])

    assert apply_temperatures(logits, temperatures, [0, 0, 0]).argmax() == 2


@pytest.mark.parametrize(
    ("counts", "gamma", "message"),
    [
        ([10, 0], 0.1, "class_counts must hold at least two classes, all positive"),
        ([10], 0.1, "class_counts must hold at least two classes"),
        ([10, 5], -0.1, "gamma must be at least 0. Got gamma=-0.1"),
        ([10, 5], np.nan, "gamma must be at least 0. Got gamma=nan"),
    ],
)
def test_impossible_temperatures_are_refused(counts: list[int], gamma: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        class_dependent_temperatures(counts, gamma)


@pytest.mark.parametrize(
    ("logits", "message"),
    [
        ([0.1, 0.2], r"logits must have shape \(n_rows, n_classes\)"),
        ([[0.1, np.nan]], "logits must not hold NaN. Got NaN in 1 of 1 rows"),
        ([[0.1, 0.2, 0.3]], "must agree on the classes"),
    ],
)
def test_unusable_logits_are_refused(logits: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        apply_temperatures(logits, [1, 1], [0, 0])


def test_log_odds_need_two_classes() -> None:
    with pytest.raises(ValueError, match="needs logits of two classes. Got 3"):
        log_odds([[1, 2, 3]])

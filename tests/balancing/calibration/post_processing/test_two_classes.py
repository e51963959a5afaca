"""On two classes: no ranking changes, and each kind is a rule for where the threshold lies."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from balancing.calibration.post_processing.class_dependent import ClassDependentTemperatures
from balancing.calibration.post_processing.kinds import PostProcessing
from balancing.calibration.post_processing.logit_adjustment import LogitAdjustment
from balancing.calibration.post_processing.plain_temperature import PlainTemperature
from balancing.calibration.post_processing.tau_normalisation import TauNormalisation
from balancing.calibration.temperatures import log_odds
from balancing.metrics.ranking import average_precision

# Steps of 2^-16: as far apart as the last bits of a network's float32 logits of this size.
odds_on_a_grid = hnp.arrays(
    np.int64, st.integers(3, 40), elements=st.integers(-(30 << 16), 30 << 16)
).map(lambda steps: steps / 65536)
mean_odds = st.floats(-20, 20)
strength = st.floats(0, 2)


def two_logits(odds: np.ndarray) -> np.ndarray:
    return np.stack([-odds / 2, odds / 2], axis=1)


def rules(strength: float, mean: float) -> list[PostProcessing]:
    half = (-mean / 2, mean / 2)
    return [
        ClassDependentTemperatures(gamma=strength, class_counts=(600, 1), mean_logits=half),
        LogitAdjustment(tau=strength, class_counts=(600, 1)),
        PlainTemperature(temperature=1 + strength),
        TauNormalisation(tau=strength, weight_norms=(0.8, 0.8), bias=half),
    ]


@settings(max_examples=80)
@given(odds_on_a_grid, strength, mean_odds)
def test_every_ranking_stays_ties_included(odds: np.ndarray, strength: float, mean: float) -> None:
    ranks = np.unique(odds, return_inverse=True)[1]

    for rule in rules(strength, mean):
        applied = log_odds(rule.apply(two_logits(odds)))

        assert (np.unique(applied, return_inverse=True)[1] == ranks).all(), rule.kind


@settings(max_examples=60)
@given(odds_on_a_grid, strength, mean_odds, st.integers(0, 2**32 - 1))
def test_average_precision_stays_to_the_last_bit(
    odds: np.ndarray, strength: float, mean: float, seed: int
) -> None:
    label = np.random.default_rng(seed).random(len(odds)) < 0.3
    label[0] = True

    for rule in rules(strength, mean):
        applied = log_odds(rule.apply(two_logits(odds)))

        assert average_precision(label, applied) == average_precision(label, odds), rule.kind


@settings(max_examples=80)
@given(st.floats(-30, 30), st.floats(0, 1), st.floats(-20, -0.5), st.integers(1, 500))
def test_class_dependent_temperatures_are_the_published_threshold_rule(
    odds: float, gamma: float, mean: float, positives: int
) -> None:
    """A row counts exactly when d >= m (1 - 2 / (1 + a_pos))."""
    rule = ClassDependentTemperatures(
        gamma=gamma, class_counts=(1000, positives), mean_logits=(-mean / 2, mean / 2)
    )
    limit = mean * (1 - 2 / (1 + (1000 / positives) ** gamma))

    assert rule.threshold == pytest.approx(limit, abs=1e-9)
    if abs(odds - limit) > 1e-6:
        tempered = log_odds(rule.apply([[-odds / 2, odds / 2]]))
        assert (tempered[0] >= 0) == (odds >= limit)


@settings(max_examples=60)
@given(st.floats(-30, 30), strength, mean_odds)
def test_the_threshold_of_each_rule_is_where_its_logits_meet(
    odds: float, strength: float, mean: float
) -> None:
    for rule in rules(strength, mean):
        if isinstance(rule, PlainTemperature):
            continue
        if abs(odds - rule.threshold) > 1e-6:
            applied = log_odds(rule.apply([[-odds / 2, odds / 2]]))
            assert (applied[0] >= 0) == (odds >= rule.threshold), rule.kind


def test_gamma_moves_the_threshold_from_even_odds_towards_the_mean_row() -> None:
    cuts = [
        ClassDependentTemperatures(
            gamma=gamma, class_counts=(900, 100), mean_logits=(4.0, -4.0)
        ).threshold
        for gamma in (0.0, 0.5, 100.0)
    ]

    assert cuts == [0.0, -4.0, pytest.approx(-8.0)]


def test_logit_adjustment_of_one_cuts_at_the_prevalence() -> None:
    rule = LogitAdjustment(tau=1.0, class_counts=(99, 1))

    assert rule.threshold == pytest.approx(np.log(0.01 / 0.99))


def test_tau_one_leaves_the_direction_of_the_head() -> None:
    """w f = 6 and |w| = 2, bias 1: the logit 7 becomes 6 / 2 + 1."""
    rule = TauNormalisation(tau=1.0, weight_norms=(2.0, 2.0), bias=(-1.0, 1.0))

    assert rule.apply([[-7.0, 7.0]]).tolist() == [[-4.0, 4.0]]


@pytest.mark.parametrize(
    "rule",
    [
        ClassDependentTemperatures(class_counts=(5, 3, 1), mean_logits=(0.0, 0.0, 0.0)),
        LogitAdjustment(class_counts=(5, 3, 1)),
        TauNormalisation(weight_norms=(1.0, 1.0, 1.0), bias=(0.0, 0.0, 0.0)),
    ],
    ids=lambda rule: rule.kind,
)
def test_three_classes_have_no_one_threshold(rule: LogitAdjustment) -> None:
    with pytest.raises(ValueError, match="A threshold needs two classes"):
        _ = rule.threshold

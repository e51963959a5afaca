"""Rates of segments: shrunk by a worked amount, and right at every limit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancing.calibration.fitting.shrinkage import (
    estimate_prior_hits,
    own_weight,
    shrunk_rate,
)


def shrink(hits: float, units: float, rate: float, prior: float) -> float:
    return float(shrunk_rate(np.array([hits]), np.array([units]), np.array([rate]), prior)[0])


def test_a_worked_rate_lies_between_its_own_and_that_of_all() -> None:
    """Own 30 of 1,000 against 1 % of all: the 10 hits expected weigh as the prior's 10."""
    assert own_weight(np.array([10.0]), 10.0)[0] == 0.5
    assert shrink(30, 1000, 0.01, prior=10) == pytest.approx(0.5 * 0.03 + 0.5 * 0.01)


@given(st.integers(0, 500), st.integers(0, 500), st.floats(0.001, 0.999), st.floats(0.01, 1e6))
def test_a_shrunk_rate_is_the_weighted_mean_of_both(
    hits: int, misses: int, rate: float, prior: float
) -> None:
    units = hits + misses
    weight = float(own_weight(np.array([units * rate]), prior)[0])
    own = hits / units if units else 0.0

    assert 0 <= weight < 1
    assert shrink(hits, units, rate, prior) == pytest.approx(
        weight * own + (1 - weight) * rate, rel=1e-9, abs=1e-12
    )


def test_an_empty_segment_has_exactly_the_rate_of_all() -> None:
    assert shrink(0, 0, 0.037, prior=3.3) == 0.037


def test_many_units_outweigh_any_prior() -> None:
    assert shrink(3e9, 1e12, 0.001, prior=100) == pytest.approx(0.003, rel=1e-6)


def test_a_strong_prior_outweighs_any_segment() -> None:
    assert shrink(50, 100, 0.01, prior=1e12) == pytest.approx(0.01, rel=1e-9)


@pytest.mark.parametrize(
    ("hits", "units"),
    [
        ([20, 20], [1000, 1000]),  # alike
        ([21, 19], [1000, 1000]),  # alike but for chance
        ([40], [2000]),  # one segment has nobody to differ from
        ([0, 0], [1000, 1000]),  # nothing seen
        ([0, 0], [0, 0]),
    ],
)
def test_segments_alike_share_one_rate(hits: list[int], units: list[int]) -> None:
    assert estimate_prior_hits(np.array(hits, float), np.array(units, float)) == np.inf


def test_a_worked_prior() -> None:
    """Expected 20 and 20, seen 10 and 30: 200 squared, 0.98 x 20 of it by chance, of 800."""
    found = estimate_prior_hits(np.array([10.0, 30.0]), np.array([1000.0, 1000.0]))

    assert found == pytest.approx(800 / (200 - 0.98 * 20))


@pytest.mark.parametrize("prior", [2.0, 10.0, 50.0])
def test_the_prior_that_segments_were_drawn_from_is_found_again(prior: float) -> None:
    rng = np.random.default_rng(0)
    units = rng.integers(2_000, 50_000, 4000).astype(float)
    rate = 0.01 * rng.gamma(prior, 1 / prior, len(units))
    found = estimate_prior_hits(rng.binomial(units.astype(int), rate).astype(float), units)

    assert found == pytest.approx(prior, rel=0.12)


def test_shrunk_rates_are_nearer_to_the_truth_than_own_rates() -> None:
    rng = np.random.default_rng(1)
    units = rng.integers(50, 2_000, 300).astype(float)
    truth = 0.02 * rng.gamma(4.0, 1 / 4.0, len(units))
    hits = rng.binomial(units.astype(int), truth).astype(float)
    overall = np.array([hits.sum() / units.sum()])
    shrunk = shrunk_rate(hits, units, overall, estimate_prior_hits(hits, units))

    def miss(rate: np.ndarray) -> float:
        return float(((rate - truth) ** 2).mean())

    assert miss(shrunk) < 0.8 * miss(hits / units)
    assert miss(shrunk) < 0.8 * miss(np.full(len(units), overall[0]))

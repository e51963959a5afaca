"""Prior correction: the printed formula, round trips, and a simulated under-sampling."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balancing.calibration.prior_shift import PriorShift, correct_prior, undo_undersampling

prevalence = st.floats(0.001, 0.999)
probability = st.floats(0, 1)


@settings(max_examples=100)
@given(probability, prevalence, prevalence)
def test_correction_equals_elkans_formula(p: float, b: float, b2: float) -> None:
    expected = b2 * (p - p * b) / (b - p * b + b2 * p - b * b2)

    corrected = correct_prior([p], trained_prevalence=b, deployed_prevalence=b2)

    assert corrected[0] == pytest.approx(expected, rel=1e-6, abs=1e-12)


@settings(max_examples=100)
@given(probability, prevalence, prevalence)
def test_correction_there_and_back_changes_nothing(p: float, b: float, b2: float) -> None:
    there = correct_prior([p], trained_prevalence=b, deployed_prevalence=b2)
    back = correct_prior(there, trained_prevalence=b2, deployed_prevalence=b)

    assert back[0] == pytest.approx(p, abs=1e-9)


def test_one_prevalence_needs_no_correction() -> None:
    p = np.linspace(0, 1, 11)

    np.testing.assert_allclose(
        PriorShift(trained_prevalence=0.3, deployed_prevalence=0.3).apply(p), p, atol=1e-15
    )


def test_a_probability_equal_to_one_prevalence_becomes_the_other() -> None:
    assert correct_prior([0.2], trained_prevalence=0.2, deployed_prevalence=0.01)[
        0
    ] == pytest.approx(0.01)


def test_undone_undersampling_gives_the_share_among_all_rows() -> None:
    """Of 1000 alike rows 10 are positive; keeping a tenth of the negatives shows 10 in 109."""
    assert undo_undersampling([10 / 109], kept_share=0.1)[0] == pytest.approx(10 / 1000)


@pytest.mark.parametrize("value", [0.0, 1.0, -1.0, np.nan])
def test_an_impossible_prevalence_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match=r"deployed_prevalence must be in \(0, 1\)"):
        correct_prior([0.5], trained_prevalence=0.5, deployed_prevalence=value)
    with pytest.raises(ValueError, match=r"trained_prevalence must be in \(0, 1\)"):
        correct_prior([0.5], trained_prevalence=value, deployed_prevalence=0.5)


@pytest.mark.parametrize("value", [0.0, 1.1])
def test_an_impossible_share_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match=r"kept_share must be in \(0, 1\]"):
        undo_undersampling([0.5], kept_share=value)

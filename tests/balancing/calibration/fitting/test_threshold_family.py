"""A threshold out of a family of rules: the strength that serves the objective, and no other."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balancing.calibration.fitting.threshold_family import STRENGTHS, tune_within_family
from balancing.calibration.post_processing.class_dependent import ClassDependentTemperatures
from infra.objectives import (
    AlertBudgetObjective,
    CostObjective,
    MaxFprObjective,
    MinPrecisionObjective,
    MinRecallObjective,
)

LABEL = np.array([1, 0, 1, 0, 0, 1, 0, 0, 0, 0])
ODDS = np.array([9.0, 8, 7, 6, 5, 4, 3, 2, 1, 0])


@dataclass(frozen=True)
class Cut:
    threshold: float


FAMILY = {0.0: Cut(8.5), 0.5: Cut(6.5), 1.0: Cut(3.5)}


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        (MaxFprObjective(max_fpr=0.1), 0.0),  # no negative above 8.5
        (MaxFprObjective(max_fpr=0.2), 0.5),  # one of seven above 6.5
        (MaxFprObjective(max_fpr=1.0), 1.0),  # the last rule, though all rows might alert
        (MinPrecisionObjective(min_precision=0.6), 0.5),
        (MinRecallObjective(min_recall=0.5), 0.5),
        (MinRecallObjective(min_recall=1.0), 1.0),
        (AlertBudgetObjective(alerts_per_day=2), 0.5),  # three alerts in two days; six are too many
    ],
)
def test_worked_strengths(objective: Any, expected: float) -> None:
    found = tune_within_family(LABEL, ODDS, objective, FAMILY, days=2)

    assert found is not None
    assert (found.strength, found.log_odds) == (expected, FAMILY[expected].threshold)


def test_worked_cost_strength() -> None:
    """Catching 30.00 + 70.00 for three reviews at 10 pays; 5.00 more for three reviews does not."""
    amount = np.array([3000, 0, 7000, 0, 0, 500, 0, 0, 0, 0])
    objective = CostObjective(review_cost=10)

    found = tune_within_family(LABEL, ODDS, objective, FAMILY, amount_minor=amount)

    assert found is not None
    assert found.strength == 0.5


@pytest.mark.parametrize(
    "objective",
    [MinPrecisionObjective(min_precision=1.0), MinRecallObjective(min_recall=0.9)],
)
def test_no_rule_that_serves_gives_none(objective: Any) -> None:
    family = {0.0: Cut(7.5), 1.0: Cut(6.5)}

    assert tune_within_family(LABEL, ODDS, objective, family) is None


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.floats(0.001, 0.2))
def test_the_chosen_rule_keeps_its_promise_and_the_next_one_would_not(
    seed: int, limit: float
) -> None:
    rng = np.random.default_rng(seed)
    label = (np.arange(800) < 40).astype(np.int64)
    odds = rng.normal(-6, 2, 800) + 5 * label
    family = {
        gamma: ClassDependentTemperatures(
            gamma=gamma, class_counts=(7600, 400), mean_logits=(3.0, -3.0)
        )
        for gamma in STRENGTHS
    }

    found = tune_within_family(label, odds, MaxFprObjective(max_fpr=limit), family)

    rates = {gamma: (odds[label == 0] >= family[gamma].threshold).mean() for gamma in STRENGTHS}
    kept = [gamma for gamma, rate in rates.items() if rate <= limit]
    assert (found.strength if found else None) == (max(kept) if kept else None)


def test_an_empty_family_is_refused() -> None:
    with pytest.raises(ValueError, match="The family must hold at least one strength"):
        tune_within_family(LABEL, ODDS, MaxFprObjective(max_fpr=0.1), {})

"""The policy's objective as a figure of both versions, on rows that can be added up."""

import numpy as np
import polars as pl
import pytest
from pydantic import TypeAdapter

from balancing.calibration.policy import Policy
from flows.gate.objective import compare_objective
from infra.objectives import Objective

# Ten rows, ten euros each; rows 0 to 3 are fraud. The champion ranks 0, 4, 1, ... the challenger
# 0, 1, 2, ...; both alert on their four highest scores.
LABEL = [1, 1, 1, 1, 0, 0, 0, 0, 0, 0]
OLD = [1.0, 0.8, 0.4, 0.3, 0.9, 0.7, 0.6, 0.2, 0.1, 0.05]
NEW = [1.0, 0.9, 0.8, 0.3, 0.7, 0.6, 0.2, 0.15, 0.1, 0.05]


@pytest.fixture
def rows() -> pl.DataFrame:
    def decided(score: list[float]) -> list[int]:
        return [1 if each >= sorted(score)[-4] else 0 for each in score]

    return pl.DataFrame(
        {
            "label": LABEL,
            "amount_minor": [1_000] * 10,
            "cluster": range(10),
            "old_score": OLD,
            "new_score": NEW,
            "old_decision": decided(OLD),
            "new_decision": decided(NEW),
        }
    )


@pytest.fixture
def policy(till) -> Policy:
    return till.store.policy("till", "1")


def with_objective(policy: Policy, objective: dict) -> Policy:
    wanted = TypeAdapter(Objective).validate_python(objective)
    review = policy.thresholds.review.model_copy(update={"objective": wanted})
    return policy.model_copy(
        update={"thresholds": policy.thresholds.model_copy(update={"review": review})}
    )


@pytest.mark.parametrize(
    ("objective", "what", "expected"),
    [
        ({"objective": "max_fpr", "max_fpr": 0.2}, "recall (max_fpr of 0.2)", (2 / 4, 3 / 4)),
        (
            {"objective": "min_precision", "min_precision": 0.7},
            "recall (min_precision of 0.7)", (1 / 4, 3 / 4),
        ),
        (
            {"objective": "min_recall", "min_recall": 0.75},
            "precision (min_recall of 0.75)", (4 / 7, 1.0),
        ),
        (
            {"objective": "alert_budget", "alerts_per_day": 2},
            "recall (alerts_per_day of 2)", (2 / 4, 3 / 4),
        ),
        (
            {"objective": "alert_budget", "alerts_per_day": 1, "rows_per_day": 5},
            "recall (alerts_per_day of 1)", (1 / 4, 2 / 4),
        ),
    ],
)  # fmt: skip
def test_both_are_read_at_the_same_bound(rows, policy, objective, what, expected) -> None:
    # Two days: a budget of 2 a day is the four highest scores, 4 of 10 rows.
    found = compare_objective(
        rows,
        with_objective(policy, objective),
        days=2.0,
        minor_units_per_major=100,
        confidence=0.9,
        seed=0,
    )

    assert found is not None
    assert found.what == what
    assert (found.champion.value, found.challenger.value) == pytest.approx(expected)
    assert found.gain.value == pytest.approx(expected[1] - expected[0])


def test_costs_charge_each_for_what_it_decides(rows, policy) -> None:
    """Champion: 4 reviews, 2 false alarms, 2 missed. Challenger: 4 reviews, 1 and 1."""
    costs = {"objective": "cost", "review_cost": 1.0, "loss_rate": 0.5, "friction_cost": 2.0}

    found = compare_objective(
        rows,
        with_objective(policy, costs),
        days=2.0,
        minor_units_per_major=100,
        confidence=0.9,
        seed=0,
    )

    assert found is not None
    assert found.what.startswith("cost a day (least cost")
    assert found.champion.value == pytest.approx((4 * 1 + 2 * 2 + 2 * 5) / 2)
    assert found.challenger.value == pytest.approx((4 * 1 + 1 * 2 + 1 * 5) / 2)
    assert found.gain.value == pytest.approx((18 - 11) / 18)


def test_a_day_without_days_and_costs_without_amounts_cannot_be_read(rows, policy) -> None:
    budget = {"objective": "alert_budget", "alerts_per_day": 2}
    costs = {"objective": "cost", "review_cost": 1.0}
    bare = rows.with_columns(amount_minor=pl.lit(None, dtype=pl.Int64))

    for table, objective in ((rows, budget), (bare, costs)):
        found = compare_objective(
            table,
            with_objective(policy, objective),
            days=None,
            minor_units_per_major=100,
            confidence=0.9,
            seed=0,
        )
        assert found is None


def test_a_champion_that_costs_nothing_leaves_the_gain_open(rows, policy) -> None:
    free = {"objective": "cost", "review_cost": 0.0, "loss_rate": 0.0}

    found = compare_objective(
        rows,
        with_objective(policy, free),
        days=2.0,
        minor_units_per_major=100,
        confidence=0.9,
        seed=0,
    )

    assert found is not None
    assert np.isnan(found.gain.value)

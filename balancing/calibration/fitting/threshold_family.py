"""Thresholds from a family of one parameter, instead of any score.

On two classes a post-processing of given strength says where to cut: at the log-odds from which
the positive logit exceeds the negative one. For class-dependent temperatures that is
d* = m (1 - 2 / (1 + a_pos)) with a_pos = (N_neg / N_pos)^gamma and m the mean training log-odds.
A free threshold follows single positives when these are few; here they choose only among a
few strengths, and everything else comes from the many training rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from balancing.calibration.fitting.choice import NONE, ThresholdChoice
from balancing.metrics.cells import (
    FloatArray,
    IntArray,
    ScoreCells,
    check_labels,
    check_scores,
    positive_amounts,
)
from balancing.metrics.costs import MINOR_UNITS_PER_MAJOR
from infra.objectives import CostObjective, MinRecallObjective, Objective

STRENGTHS = tuple(step / 20 for step in range(21))
"""Strengths tried by default: 0 to 1 in steps of a twentieth."""


class ThresholdRule(Protocol):
    """A post-processing of two classes, which says where to cut."""

    @property
    def threshold(self) -> float:
        """Lowest log-odds of the network that count as positive."""


@dataclass(frozen=True, slots=True)
class FamilyThreshold:
    """The member of a family that serves an objective best on the calibration rows.

    Attributes:
        strength: Its parameter.
        log_odds: Where it cuts: the lowest log-odds of the network that count.
    """

    strength: float
    log_odds: float


def tune_within_family(
    label: ArrayLike,
    log_odds: ArrayLike,
    objective: Objective,
    family: Mapping[float, ThresholdRule],
    *,
    amount_minor: ArrayLike | None = None,
    days: float | None = None,
    minor_units_per_major: int = MINOR_UNITS_PER_MAJOR,
) -> FamilyThreshold | None:
    """Return the strength whose cut serves an objective best, ``None`` where none can meet it.

    Args:
        label: 0 or 1 per row, at least one of each.
        log_odds: The network's own, before any post-processing.
        objective: What the threshold is for.
        family: Rules by their strength.
        amount_minor: Amount per row in minor currency units; needed for ``cost``.
        days: Length of the period in days; needed for ``alert_budget``.
        minor_units_per_major: Minor units in one unit of the costs' currency.

    Raises:
        ValueError: If labels or log-odds are unusable, or the family is empty.
    """
    if not family:
        raise ValueError("The family must hold at least one strength. Got none.")
    labels = check_labels(label, both_classes=True)
    odds = check_scores(log_odds, len(labels), name="log_odds")
    rules = sorted(family.items(), key=lambda item: -item[1].threshold)
    cuts = np.array([rule.threshold for _, rule in rules])
    amount = amount_minor if isinstance(objective, CostObjective) else None
    cells = _cells_between(labels, odds, cuts, amount)
    chosen = _choose(ThresholdChoice(objective, days, minor_units_per_major), cells, len(cuts))
    return None if chosen == NONE else FamilyThreshold(rules[chosen][0], float(cuts[chosen]))


def _cells_between(
    label: IntArray, log_odds: FloatArray, cuts: FloatArray, amount: ArrayLike | None
) -> ScoreCells:
    """Count rows down to each cut, from the highest; the last cell holds those below all cuts."""
    place = np.searchsorted(-cuts, -log_odds, side="left")

    def counted(weight: FloatArray) -> FloatArray:
        return np.bincount(place, weights=weight, minlength=len(cuts) + 1).astype(np.float64)

    amounts = None if amount is None else counted(positive_amounts(amount, label))
    positives = label.astype(np.float64)
    return ScoreCells(counted(positives), counted(1 - positives), amounts)


def _choose(choice: ThresholdChoice, cells: ScoreCells, n_cuts: int) -> int:
    """Return the place of the chosen cut; the cell below all cuts is none to choose."""
    if isinstance(choice.objective, CostObjective):
        # The first place stands for alerting on nothing, which no rule does.
        return int(choice.costs(cells)[1 : n_cuts + 1].argmin())
    chosen = int(choice.choose(cells))
    if chosen < n_cuts:
        return chosen
    return NONE if isinstance(choice.objective, MinRecallObjective) else n_cuts - 1

"""Makes a cost threshold go by each row's amount, and says what that is worth."""

import numpy as np

from balancing.calibration.fitting.operating_points import Period, operating_point
from balancing.calibration.objectives import describe
from balancing.calibration.row_costs import RowCosts
from balancing.calibration.thresholds import TunedThreshold
from balancing.metrics.cells import FloatArray, IntArray
from balancing.metrics.intervals import Interval, percentile_interval
from infra.objectives import CostObjective

N_REPLICATES = 500
_WEIGHTS_AT_ONCE = 4_000_000


def by_amount(
    tuned: TunedThreshold,
    label: IntArray,
    risk_score: FloatArray,
    period: Period,
    *,
    n_replicates: int = N_REPLICATES,
    seed: int = 0,
) -> TunedThreshold:
    """Return a cost threshold that differs by amount; the single one stays for rows without.

    The rule is a closed form and is not fitted: what it rests on is the calibration of the score.
    Its reason therefore says how many positives the scores of the alerts promised, and how many
    there were.

    Args:
        tuned: The single threshold of least cost.
        label: 0 or 1 per row.
        risk_score: Calibrated probability.
        period: With amounts.
        n_replicates: Resamples behind the saving's interval.
        seed: Same seed, same interval.

    Shape:
        ``(n_rows,)`` each.
    """
    assert isinstance(tuned.objective, CostObjective)
    assert period.amount_minor is not None
    costs = RowCosts.of(tuned.objective, period.minor_units_per_major)
    by_row = costs.thresholds(period.amount_minor)
    is_alert = risk_score >= np.where(np.isnan(by_row), tuned.lowest_score, by_row)
    savings = costs.savings(period.amount_minor, label == 1)[is_alert]
    saving = _saving(savings, n_replicates=n_replicates, seed=seed)
    n_found, promised = int(label[is_alert].sum()), float(risk_score[is_alert].sum())
    reason = (
        f"{describe(tuned.objective)}, row by row: an alert from (review + friction) / (loss rate "
        f"x amount + friction) on. {is_alert.sum()} alerts among {len(label)} calibration rows "
        f"hold {n_found} of {int(label.sum())} positives, where their scores promised "
        f"{promised:.3g}; they save {saving} against no alerts. Rows without an amount: "
        f"{tuned.reason}"
    )
    achieved = operating_point(label, is_alert, period, tuned.objective)
    return tuned.model_copy(
        update={"row_costs": costs, "saving": saving, "achieved": achieved, "reason": reason}
    )


def _saving(savings: FloatArray, *, n_replicates: int, seed: int) -> Interval:
    """Return the sum with the interval of its Poisson bootstrap."""
    rng = np.random.default_rng(seed)
    block = max(1, _WEIGHTS_AT_ONCE // max(1, len(savings)))
    sizes = [min(block, n_replicates - start) for start in range(0, n_replicates, block)]
    drawn = [rng.poisson(1.0, (size, len(savings))) @ savings for size in sizes]
    return percentile_interval(float(savings.sum()), np.concatenate(drawn))

"""How rows are decided: score, thresholds and decision, as columns of a table."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from balancing.calibration.policy import Policy
from balancing.calibration.thresholds import DECLINE, DecisionArray
from features.segments import SegmentArray
from infra.exploration import Exploration


def with_decisions(
    rows: pl.DataFrame,
    policy: Policy,
    which: str,
    *,
    score: NDArray[np.float64],
    decision: DecisionArray,
    amount_minor: NDArray[np.float64] | None,
    segment: SegmentArray | None,
) -> pl.DataFrame:
    """Return rows with what one of several policies says of them.

    Added are ``WHICH_score``, ``WHICH_review_threshold`` and ``WHICH_decline_threshold`` (null
    for none), ``WHICH_decision`` and ``WHICH_explored``, the probability that a declined row is
    let through all the same.

    Args:
        rows: With ``amount`` in major currency units.
        policy: The policy.
        which: What to call it in the columns.
        score: Risk scores.
        decision: 0 approve, 1 review, 2 decline.
        amount_minor: Amounts in minor units; needed where the policy decides by them.
        segment: Segments; needed where the policy goes by them.

    Shape:
        ``(n_rows,)`` each.
    """
    review, decline = (
        pl.Series(np.broadcast_to(each, score.shape)).fill_nan(None)
        for each in policy.thresholds.of_rows(amount_minor, segment)
    )
    return rows.with_columns(
        pl.Series(f"{which}_score", score),
        review.alias(f"{which}_review_threshold"),
        decline.alias(f"{which}_decline_threshold"),
        pl.Series(f"{which}_decision", decision),
    ).with_columns(_explored(policy.exploration, f"{which}_decision").alias(f"{which}_explored"))


def _explored(exploration: Exploration | None, decision: str) -> pl.Expr:
    """Return each row's probability to be let through though it is declined."""
    if exploration is None:
        return pl.lit(0.0)
    most = exploration.max_amount
    is_small = pl.lit(True) if most is None else pl.col("amount") <= most
    return pl.when((pl.col(decision) == DECLINE) & is_small).then(exploration.rate).otherwise(0.0)

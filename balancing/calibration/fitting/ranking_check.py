"""Refuses a recalibration that ranks rows worse with certainty."""

from numpy.typing import ArrayLike

from balancing.calibration.post_processing.kinds import PostProcessing
from balancing.calibration.ranking_change import RankingChange
from balancing.calibration.temperatures import log_odds
from balancing.metrics.intervals import paired_difference
from balancing.metrics.ranking import average_precision, average_precision_of
from infra.errors import Refusal


class RankingLowered(Refusal):
    """Raised when post-processed logits rank the calibration rows worse beyond doubt."""


def check_ranking(
    label: ArrayLike,
    logits: ArrayLike,
    post_processing: PostProcessing,
    *,
    segment: ArrayLike | None = None,
    force: bool = False,
    seed: int = 0,
) -> RankingChange | None:
    """Return what a post-processing does to average precision; ``None`` where it keeps ranks.

    On two classes only one that treats segments differently re-ranks rows.

    Args:
        label: 0 or 1 per row.
        logits: As the network gives them.
        post_processing: What would be done to them.
        segment: Each row's segment.
        force: Accept a certain loss; the change then says so.
        seed: Decides the resamples.

    Shape:
        ``(n_rows,)``, ``(n_rows, 2)``, ``(n_rows,)``.

    Raises:
        RankingLowered: If the 95 % interval of the paired difference lies below 0, unless forced.
    """
    if not post_processing.is_segmented:
        return None
    before, after = log_odds(logits), log_odds(post_processing.apply(logits, segment))
    difference = paired_difference(label, after, before, average_precision_of, seed=seed)
    change = RankingChange(
        before=average_precision(label, before),
        after=average_precision(label, after),
        difference=difference,
    )
    if change.is_certain_loss and not force:
        raise RankingLowered(
            f"This {post_processing.kind} post-processing lowers average precision on the "
            f"calibration rows from {change.before:.4g} to {change.after:.4g}, a difference of "
            f"{difference}. Choose a smaller strength, or force it."
        )
    return change.model_copy(update={"forced": change.is_certain_loss})

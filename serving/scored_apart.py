"""Scoring rows of several requests together, so that none of them suffers from another."""

from collections.abc import Sequence
from functools import partial

from serving.prepared_rows import VelocityMatrix, one_by_one
from serving.refusals import RequestRefused
from serving.requests import TypedRow
from serving.scored import ScoredRow
from serving.scorer import Scorer


def scored_apart(
    scorer: Scorer,
    rows: Sequence[TypedRow],
    velocity: VelocityMatrix | None = None,
    *,
    at_least_review: bool = False,
) -> list[ScoredRow | RequestRefused | Exception]:
    """Return what the scorer says of each row, or what broke because of it.

    Args:
        scorer: A verified scorer.
        rows: As the contract types them.
        velocity: Features over time of each row, where the contract declares any.
        at_least_review: Whether to approve none of them.
    """
    try:
        return list(scorer.score_typed(rows, velocity, at_least_review=at_least_review))
    except Exception as error:  # noqa: BLE001 - nobody else's row may fail with it
        if len(rows) == 1:
            return [error]
    alone = partial(scored_apart, scorer, at_least_review=at_least_review)
    return one_by_one(alone, rows, velocity)

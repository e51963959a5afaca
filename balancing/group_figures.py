"""What a model does to groups of people, and to any other groups of rows, each with its interval.

Groups are measured and never decided by. Ratios are to the group that fares best; a ratio below
four fifths is worth a question ("four-fifths rule" of the US Uniform Guidelines on Employee
Selection Procedures, 29 CFR 1607.4 D, 1978). It is a rule of thumb and no legal test.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from balancing.calibration.thresholds import APPROVE, DECLINE
from balancing.metrics.cells import FloatArray
from balancing.metrics.intervals import Interval, bootstrap_interval
from balancing.metrics.proportions import share_interval
from balancing.metrics.ranking import average_precision_of
from balancing.part_figures import Grouped, GroupFigures, SmallGroup

MIN_ROWS = 50
"""A group of fewer rows is left out, and named."""

MIN_COUNTED = 10
"""A share of fewer rows than this, such as recall with few positives, is not told."""

_Z = 1.96
_BOOTSTRAPS = 300
_ITSELF = Interval(1.0, 1.0, 1.0)


def group_figures(
    column: str,
    value: Sequence[str | None],
    *,
    label: ArrayLike,
    risk_score: ArrayLike,
    decision: ArrayLike,
    compared: bool,
    seed: int = 0,
) -> Grouped:
    """Return the figures of every group that has enough rows.

    Args:
        column: Its name.
        value: The group of each row.
        label: 0 or 1 per row.
        risk_score: Calibrated probability.
        decision: 0 approve, 1 review, 2 decline.
        compared: Whether groups are held against the one that fares best.
        seed: Decides the resamples behind average precision; the other intervals need none.

    Raises:
        ValueError: If these are not of one length.
    """
    labels, scores = np.asarray(label) == 1, np.asarray(risk_score, dtype=np.float64)
    decisions = np.asarray(decision)
    if not len(value) == len(labels) == len(scores) == len(decisions):
        raise ValueError(
            "value, label, risk_score and decision must be of one length. Got "
            f"{len(value)}, {len(labels)}, {len(scores)}, {len(decisions)}."
        )
    kept: list[GroupFigures] = []
    left_out: list[SmallGroup] = []
    known = sorted(dict.fromkeys(value), key=lambda one: (one is None, str(one)))
    number = {each: at for at, each in enumerate(known)}
    numbers = np.fromiter((number[each] for each in value), dtype=np.int64, count=len(value))
    for at, each in enumerate(known):
        rows = numbers == at
        if (n_rows := int(rows.sum())) < MIN_ROWS:
            left_out.append(SmallGroup(value=each, rows=n_rows))
        else:
            kept.append(_figures(each, labels[rows], scores[rows], decisions[rows], seed))
    groups = _compared(kept) if compared else kept
    return Grouped(column=column, groups=tuple(groups), left_out=tuple(left_out))


def _figures(
    value: str | None,
    label: NDArray[np.bool_],
    score: FloatArray,
    decision: NDArray[np.int_],
    seed: int,
) -> GroupFigures:
    is_alert, n_positives = decision != APPROVE, int(label.sum())
    observed = share_interval(label)
    mean = float(score.mean())
    return GroupFigures(
        value=value,
        rows=len(label),
        positives=n_positives,
        approved=share_interval(~is_alert),
        declined=share_interval(decision == DECLINE),
        recall=_known_share(is_alert[label]),
        false_positive_rate=_known_share(is_alert[~label]),
        precision=_known_share(label[is_alert]),
        average_precision=_average_precision(label, score, seed)
        if min(n_positives, len(label) - n_positives) >= MIN_COUNTED
        else None,
        mean_score=mean,
        observed_rate=observed,
        calibration_gap=Interval(mean - observed.value, mean - observed.high, mean - observed.low),
    )


def _known_share(is_hit: NDArray[np.bool_]) -> Interval | None:
    return share_interval(is_hit) if len(is_hit) >= MIN_COUNTED else None


def _average_precision(label: NDArray[np.bool_], score: FloatArray, seed: int) -> Interval:
    return bootstrap_interval(
        label.astype(np.int8), score, average_precision_of, n_replicates=_BOOTSTRAPS, seed=seed
    )


_Counted = Callable[[GroupFigures], tuple[float, int]]
"""A share that is granted, and of how many rows."""


def _compared(groups: list[GroupFigures]) -> list[GroupFigures]:
    granted: dict[str, _Counted] = {
        "approved": lambda one: (one.approved.value, one.rows),
        "not_declined": lambda one: (1 - one.declined.value, one.rows),
        "approved_good": lambda one: (
            float("nan") if one.false_positive_rate is None else 1 - one.false_positive_rate.value,
            one.rows - one.positives,
        ),
    }
    ratios: list[dict[str, Interval]] = [{} for _ in groups]
    for name, counted in granted.items():
        shares = [counted(one) for one in groups]
        known = [at for at, (share, _) in enumerate(shares) if not np.isnan(share)]
        best = max(known, key=lambda at: shares[at][0], default=None)
        # Alone, or where nobody is granted anything, there is nothing to compare.
        if best is None or len(known) < 2 or not shares[best][0]:
            continue
        for at in known:
            is_best = at == best
            ratios[at][name] = _ITSELF if is_best else ratio_interval(shares[at], shares[best])
    return [
        one.model_copy(update={"ratios": found}) for one, found in zip(groups, ratios, strict=True)
    ]


def ratio_interval(part: tuple[float, int], best: tuple[float, int]) -> Interval:
    """Return the ratio of two shares with its 95 % interval (Katz et al., 1978, on the log scale).

    A share of nothing has no upper end that this would know.

    Args:
        part: A share, and of how many rows.
        best: The share that it is held against, above 0.

    Example:
        >>> print(ratio_interval((0.4, 100), (0.8, 100)))
        0.5 [0.3858, 0.648]
    """
    (share, n_rows), (top, n_top) = part, best
    if share == 0:
        return Interval(0.0, 0.0, float("nan"))
    spread = np.sqrt((1 - share) / (n_rows * share) + (1 - top) / (n_top * top))
    ratio, factor = share / top, float(np.exp(_Z * spread))
    return Interval(ratio, ratio / factor, ratio * factor)

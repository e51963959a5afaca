"""A figure with the ends of its bootstrap interval; ``resampling`` says how rows are drawn."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BeforeValidator, ConfigDict, PlainSerializer
from pydantic.dataclasses import dataclass as validated_dataclass

from balancing.metrics.cells import FloatArray, ScoreCells
from balancing.metrics.resampling import CellResampler

N_REPLICATES = 1000
CONFIDENCE = 0.95

Statistic: TypeAlias = Callable[[ScoreCells], FloatArray]


def _none_to_nan(value: Any) -> Any:
    return float("nan") if value is None else value


def _nan_to_none(value: float) -> float | None:
    return None if np.isnan(value) else value


# JSON has no NaN: an unknown figure travels as null.
NanAsNull: TypeAlias = Annotated[
    float, BeforeValidator(_none_to_nan), PlainSerializer(_nan_to_none, when_used="json")
]


@validated_dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class Interval:
    """A figure with the ends of its bootstrap interval; NaN where it is not known.

    Attributes:
        value: The figure on the data themselves.
        low: Lower end, 95 % unless said otherwise.
        high: Upper end.
    """

    value: NanAsNull
    low: NanAsNull
    high: NanAsNull

    def __str__(self) -> str:
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}]"


def percentile_interval(
    value: float, replicates: FloatArray, *, confidence: float = CONFIDENCE
) -> Interval:
    """Return a figure with the percentiles of its replicates; NaN replicates are left out.

    Replicates that drew no positive have no value: the interval is conditional on having one.
    """
    known = replicates[~np.isnan(replicates)]
    if not known.size:
        return Interval(value, float("nan"), float("nan"))
    tail = (1 - confidence) / 2
    low, high = np.quantile(known, [tail, 1 - tail])
    return Interval(value, float(low), float(high))


def bootstrap_interval(
    label: ArrayLike,
    score: ArrayLike,
    statistic: Statistic,
    *,
    amount: ArrayLike | None = None,
    cluster: ArrayLike | None = None,
    n_replicates: int = N_REPLICATES,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Interval:
    """Return a ranking metric with its bootstrap interval.

    Args:
        label: 0 or 1 per row.
        score: Higher means riskier.
        statistic: A formula over cells, such as ``ranking.average_precision_of``.
        amount: Value per row where the statistic needs it.
        cluster: What each row belongs to, where rows of one are no independent draws.
        n_replicates: Resamples drawn.
        confidence: Share of the replicates between the two ends.
        seed: Same seed, same interval.

    Raises:
        ValueError: If labels or scores are unusable.
    """
    return bootstrap_intervals(
        label,
        score,
        {"statistic": statistic},
        amount=amount,
        cluster=cluster,
        n_replicates=n_replicates,
        confidence=confidence,
        seed=seed,
    )["statistic"]


def bootstrap_intervals(
    label: ArrayLike,
    score: ArrayLike,
    statistics: Mapping[str, Statistic],
    *,
    amount: ArrayLike | None = None,
    cluster: ArrayLike | None = None,
    n_replicates: int = N_REPLICATES,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> dict[str, Interval]:
    """Return several ranking metrics of one score, all from the same resamples."""
    resampler = CellResampler.of(label, [score], amount=amount, cluster=cluster)
    (cells,) = resampler.observed()
    drawn: dict[str, list[FloatArray]] = {name: [] for name in statistics}
    for (resampled,) in resampler.draw(n_replicates, seed=seed):
        for name, statistic in statistics.items():
            drawn[name].append(statistic(resampled))
    return {
        name: percentile_interval(
            float(statistic(cells)), np.concatenate(drawn[name]), confidence=confidence
        )
        for name, statistic in statistics.items()
    }


def paired_difference(
    label: ArrayLike,
    score: ArrayLike,
    baseline_score: ArrayLike,
    statistic: Statistic,
    *,
    amount: ArrayLike | None = None,
    cluster: ArrayLike | None = None,
    n_replicates: int = N_REPLICATES,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Interval:
    """Return how much a metric of ``score`` exceeds that of ``baseline_score`` on the same rows.

    Both scores see the same resampled rows, so what they share cancels out.
    """
    return mean_paired_difference(
        label,
        [score],
        [baseline_score],
        statistic,
        amount=amount,
        cluster=cluster,
        n_replicates=n_replicates,
        confidence=confidence,
        seed=seed,
    )


def mean_paired_difference(
    label: ArrayLike,
    scores: Sequence[ArrayLike],
    baseline_scores: Sequence[ArrayLike],
    statistic: Statistic,
    *,
    amount: ArrayLike | None = None,
    cluster: ArrayLike | None = None,
    n_replicates: int = N_REPLICATES,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Interval:
    """Return the mean of paired differences of several repetitions on the same rows.

    All scores see the same resampled rows. The interval says what other rows would change, given
    these repetitions; it does not say what other repetitions would.

    Args:
        label: 0 or 1 per row.
        scores: One a repetition.
        baseline_scores: One a repetition, in the same order.
        statistic: A formula over cells.
        amount: Value per row where the statistic needs it.
        cluster: What each row belongs to, where rows of one are no independent draws.
        n_replicates: Resamples drawn.
        confidence: Share of the replicates between the two ends.
        seed: Same seed, same interval.
    """
    resampler = CellResampler.of(label, [*scores, *baseline_scores], amount=amount, cluster=cluster)
    n = len(scores)

    def difference(cells: Sequence[ScoreCells]) -> FloatArray:
        pairs = zip(cells[:n], cells[n:], strict=True)
        gains = np.stack([statistic(ours) - statistic(theirs) for ours, theirs in pairs])
        mean: FloatArray = gains.mean(axis=0)
        return mean

    drawn = [difference(cells) for cells in resampler.draw(n_replicates, seed=seed)]
    return percentile_interval(
        float(difference(resampler.observed())), np.concatenate(drawn), confidence=confidence
    )

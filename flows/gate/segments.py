"""Whether any segment is worse off, whatever the whole gains.

Each segment with enough positives is held for itself: the share of its positives that is reviewed
or declined, by both. Looking at many segments finds a loss by chance, so their intervals are
Bonferroni's: all of them hold at once with the confidence asked for.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from balancing.calibration.thresholds import REVIEW
from balancing.metrics.cells import FloatArray
from balancing.metrics.intervals import Interval
from balancing.metrics.loss_intervals import mean_interval
from features.labels import LABEL
from flows.gate.clusters import CLUSTER
from flows.impact_figures import NEW, OLD


@dataclass(frozen=True, slots=True)
class SegmentGain:
    """The share of a segment's positives that is caught, by both.

    Attributes:
        column: Column that tells the segment.
        value: Its value there; None for rows without one.
        positives: How many known positives it has.
        champion: Share of them that the champion reviews or declines.
        challenger: That the challenger does.
        gain: The difference with Bonferroni's interval.
    """

    column: str
    value: str | None
    positives: int
    champion: float
    challenger: float
    gain: Interval

    @property
    def words(self) -> str:
        """What to call it in a sentence."""
        return f"{self.column} {'(missing)' if self.value is None else self.value}"


def caught_gains(positives: pl.DataFrame) -> FloatArray:
    """Return for each positive 1 where only the challenger catches it, -1 where only the champion.

    Shape:
        ``n`` rows -> ``(n,)``, float64.
    """
    old, new = ((positives[f"{which}_decision"] >= REVIEW) for which in (OLD, NEW))
    gains: FloatArray = (new.cast(pl.Float64) - old.cast(pl.Float64)).to_numpy()
    return gains


def segment_gains(
    rows: pl.DataFrame,
    columns: Sequence[str],
    *,
    min_positives: int,
    confidence: float,
    seed: int,
) -> tuple[SegmentGain, ...]:
    """Return every segment that has enough positives, the worst loss first.

    Args:
        rows: Labelled rows that both have decided.
        columns: That tell segments apart, each for itself.
        min_positives: Below which a segment is left out.
        confidence: With which all intervals hold at once.
        seed: Same seed, same intervals.
    """
    parts = list(_parts(rows.filter(pl.col(LABEL) == 1), columns, min_positives))
    each = 1 - (1 - confidence) / max(1, len(parts))
    found = [
        SegmentGain(
            column=column,
            value=value,
            positives=part.height,
            champion=_caught(part, OLD),
            challenger=_caught(part, NEW),
            gain=mean_interval(
                caught_gains(part), cluster=part[CLUSTER], confidence=each, seed=seed
            ),
        )
        for column, value, part in parts
    ]
    return tuple(sorted(found, key=lambda one: one.gain.value))


def _parts(
    positives: pl.DataFrame, columns: Sequence[str], min_positives: int
) -> Iterator[tuple[str, str | None, pl.DataFrame]]:
    for column in columns:
        for (value,), part in positives.group_by(column, maintain_order=True):
            if part.height >= min_positives:
                yield column, None if value is None else str(value), part


def _caught(part: pl.DataFrame, which: str) -> float:
    return int((part[f"{which}_decision"] >= REVIEW).sum()) / part.height

"""Tunes a threshold per segment, shrunk towards the global one (see ``shrinkage``).

Each segment's threshold is where its shrunk rate meets the objective's limit. Segments together
must still meet the objective: where shrinkage lets them miss it, the limit is tightened for all
until the calibration rows as a whole meet it.
"""

import logging
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from balancing.calibration.fitting.calibrators import CalibrationError
from balancing.calibration.fitting.choice import NONE
from balancing.calibration.fitting.operating_points import Period, operating_point
from balancing.calibration.fitting.segment_rates import (
    SegmentCounts,
    SegmentRule,
    hits_and_units,
    prior_hits,
)
from balancing.calibration.fitting.shrinkage import own_weight
from balancing.calibration.fitting.thresholds import cut_below
from balancing.calibration.objectives import describe
from balancing.calibration.segments import segment_codes
from balancing.calibration.thresholds import SegmentThreshold
from balancing.metrics.cells import FloatArray, IntArray, descending_cells
from balancing.metrics.intervals import Interval, percentile_interval
from balancing.metrics.resampling import CellResampler
from infra.objectives import (
    AlertBudgetObjective,
    MaxFprObjective,
    MinPrecisionObjective,
    MinRecallObjective,
    Objective,
)

logger = logging.getLogger(__name__)

MOST_SEGMENTS = 200
N_REPLICATES = 200
_MOST_CELLS, _FEWEST_CELLS, _CELLS_IN_ALL = 4000, 800, 200_000
_HALVINGS = 50
_PRECISION_STEPS = 1000


@dataclass(frozen=True, slots=True)
class TunedSegments:
    """Thresholds of segments, or why there are none.

    Attributes:
        thresholds: One per segment; ``None`` where all rows share the global one.
        reason: One line for a person, to follow the global threshold's.
    """

    thresholds: tuple[SegmentThreshold, ...] | None
    reason: str


def tune_segments(
    label: IntArray,
    risk_score: FloatArray,
    segment: ArrayLike,
    objective: Objective,
    *,
    threshold: float | None,
    days: float | None = None,
    n_replicates: int = N_REPLICATES,
    seed: int = 0,
) -> TunedSegments:
    """Return a threshold for each segment among the rows.

    Args:
        label: 0 or 1 per row, both there.
        risk_score: Calibrated probability.
        segment: Each row's segment, a text or ``None``.
        objective: What thresholds are for; not ``cost``, which decides row by row.
        threshold: The global threshold, which rows of no segment have.
        days: Length of the period in days; needed for ``alert_budget``.
        n_replicates: Resamples behind the intervals.
        seed: Same seed, same intervals.

    Shape:
        ``(n_rows,)`` each.

    Raises:
        CalibrationError: If there are more than ``MOST_SEGMENTS`` segments.
    """
    keys = np.asarray(segment, dtype=object)
    names = _segment_names(keys)
    if threshold is None:
        return TunedSegments(None, "Segments have no thresholds of their own either")
    if len(names) < 2:
        return TunedSegments(None, f"There is {len(names)} segment: all rows share the threshold")
    rows = _Rows.of(label, risk_score, segment_codes(keys, names), len(names), threshold)
    worth = prior_hits(objective, rows.counts)
    logger.info("segments compared", extra={"segments": len(names), "prior_hits": worth})
    if not np.isfinite(worth):
        return TunedSegments(
            None, f"The {len(names)} segments differ by no more than chance: they share it"
        )
    rule = SegmentRule(objective, _rate_limit(objective, days, len(label)), worth)
    tightened = _tightened(rule, rows)
    cells = tightened.choose(tightened.rates(rows.counts))[:-1]
    intervals = _intervals(tightened, rows, cells, n_replicates=n_replicates, seed=seed)
    weights = _weights(tightened, rows.counts, cells)
    found = tuple(
        _segment_threshold(name, rows.of_segment(at), interval, float(weight), tightened)
        for at, (name, interval, weight) in enumerate(zip(names, intervals, weights, strict=True))
    )
    return TunedSegments(found, _explain(rule, tightened, len(names)))


def _segment_threshold(
    name: str,
    rows: tuple[IntArray, FloatArray],
    interval: Interval,
    weight: float,
    rule: SegmentRule,
) -> SegmentThreshold:
    label, score = rows
    achieved = operating_point(label, score >= interval.value, Period())
    wanted, n_positives = describe(rule.objective), int((label == 1).sum())
    if np.isnan(interval.value):
        reason = f"{wanted} cannot be met here at any score. No row counts"
    else:
        caught = round(achieved.recall * n_positives) if n_positives else 0
        reason = (
            f"{wanted}: {achieved.n_alerts} alerts among {len(label)} rows hold {caught} of "
            f"{n_positives} positives"
        )
    return SegmentThreshold(
        segment=name,
        threshold=None if np.isnan(interval.value) else interval.value,
        interval=interval,
        weight=weight,
        n_rows=len(label),
        n_positives=n_positives,
        achieved=achieved,
        reason=f"{reason}; own rows weigh {weight:.3f}, all rows {1 - weight:.3f}",
    )


def _explain(rule: SegmentRule, tightened: SegmentRule, n_segments: int) -> str:
    reason = (
        f"{n_segments} segments have thresholds of their own, their rates shrunk towards that of "
        f"all rows, which is worth {rule.prior_hits:.3g} hits"
    )
    if tightened.limit == rule.limit:
        return reason
    return (
        f"{reason}; their limit is {tightened.limit:.3g} instead of {rule.limit:.3g}, so that all "
        "rows together meet the objective"
    )


@dataclass(frozen=True, slots=True)
class _Rows:
    """Calibration rows placed in a grid of candidate scores by segments.

    Attributes:
        label: 0 or 1, ``(n_rows,)``.
        risk_score: ``(n_rows,)``.
        code: Segment of each row, the last one for rows of none, ``(n_rows,)``.
        cell: Candidate of each row, the highest first, ``(n_rows,)``.
        cuts: Threshold below each candidate, NaN last for none, ``(n_cells + 1,)``.
        counts: Rows down to each candidate, ``(n_segments + 1, n_cells)``.
        others_cell: Candidate down to which rows of no segment are alerts.
    """

    label: IntArray
    risk_score: FloatArray
    code: IntArray
    cell: IntArray
    cuts: FloatArray
    counts: SegmentCounts
    others_cell: int

    @classmethod
    def of(
        cls,
        label: IntArray,
        risk_score: FloatArray,
        code: IntArray,
        n_segments: int,
        threshold: float,
    ) -> "_Rows":
        distinct, place = descending_cells(risk_score)
        ends = _candidates(place, label, len(distinct), n_segments)
        cell = np.searchsorted(ends, np.arange(len(distinct)))[place]
        code = np.where(code < 0, n_segments, code)
        shape = (n_segments + 1, len(ends))
        flat = code * len(ends) + cell
        by_class = [
            np.bincount(flat[label == value], minlength=shape[0] * shape[1]).reshape(shape)
            for value in (1, 0)
        ]
        counts = SegmentCounts(*(each.cumsum(axis=1).astype(np.float64) for each in by_class))
        cuts = np.array([*(cut_below(distinct, int(end)) for end in ends), np.nan])
        return cls(label, risk_score, code, cell, cuts, counts, int((cuts >= threshold).sum()) - 1)

    def of_segment(self, at: int) -> tuple[IntArray, FloatArray]:
        """Return the labels and the scores of a segment's rows."""
        own = self.code == at
        return self.label[own], self.risk_score[own]


def _segment_names(keys: np.ndarray) -> list[str]:
    names = sorted({str(key) for key in keys.tolist() if key is not None})
    if len(names) > MOST_SEGMENTS:
        raise CalibrationError(
            f"policy.segments must give at most {MOST_SEGMENTS} segments. Got {len(names):,} among "
            "the calibration rows: name fewer columns, or band one in a derived column."
        )
    return names


def _candidates(place: IntArray, label: IntArray, n_distinct: int, n_segments: int) -> IntArray:
    """Return candidate scores as places from the top, evenly spread over the log of the rank."""
    most = int(np.clip(_CELLS_IN_ALL // (n_segments + 1), _FEWEST_CELLS, _MOST_CELLS)) // 2
    chosen = [np.array([n_distinct - 1])]
    for value in (0, 1):
        ranked = np.sort(place[label == value])
        ranks = np.geomspace(1, len(ranked), min(most, len(ranked))) - 1
        top = np.arange(min(most // 4, len(ranked)))
        chosen.append(ranked[np.unique(np.concatenate([top, ranks.astype(np.int64)]))])
    return np.unique(np.concatenate(chosen)).astype(np.int64)


def _rate_limit(objective: Objective, days: float | None, n_rows: int) -> float:
    match objective:
        case MaxFprObjective(max_fpr=limit):
            return limit
        case MinRecallObjective(min_recall=limit):
            return limit
        case MinPrecisionObjective(min_precision=limit):
            return limit
        case AlertBudgetObjective(alerts_per_day=budget):
            assert days is not None
            return budget * days / n_rows
        case _:
            raise ValueError("Costs decide row by row and need no segments.")


def _tightened(rule: SegmentRule, rows: _Rows) -> SegmentRule:
    """Return the rule with the limit nearest to its own at which all rows together meet it."""
    rates = rule.rates(rows.counts)

    def is_met(limit: float) -> bool:
        cells = replace(rule, limit=limit).choose(rates)
        return _is_met_overall(rule, rows, cells)

    if is_met(rule.limit):
        return rule
    if isinstance(rule.objective, MinPrecisionObjective):
        first = int(np.ceil(rule.limit * _PRECISION_STEPS))
        steps = [step / _PRECISION_STEPS for step in range(first, _PRECISION_STEPS + 1)]
        return replace(rule, limit=next((step for step in steps if is_met(step)), 1.0))
    missed, met = rule.limit, 0.0 if rule.is_upper else 1.0
    for _ in range(_HALVINGS):
        halfway = (missed + met) / 2
        missed, met = (missed, halfway) if is_met(halfway) else (halfway, met)
    return replace(rule, limit=met)


def _is_met_overall(rule: SegmentRule, rows: _Rows, cells: IntArray) -> bool:
    hits, units = hits_and_units(rule.objective, rows.counts)
    cells = np.append(cells[:-1], rows.others_cell)
    n_hits = _down_to(hits, cells).sum()
    same_units = units.shape[-1] == 1
    n_units = units.sum() if same_units else _down_to(units, cells).sum()
    if not n_units:
        return rule.is_upper or isinstance(rule.objective, MinPrecisionObjective)
    rate = n_hits / n_units
    return bool(rate <= rule.limit if rule.is_upper else rate >= rule.limit)


def _down_to(counts: FloatArray, cells: IntArray) -> FloatArray:
    """Return each segment's count at its own cell, 0 where it has none."""
    at = np.take_along_axis(counts, np.maximum(cells, 0)[:, None], axis=1)[:, 0]
    return np.where(cells == NONE, 0.0, at)


def _weights(rule: SegmentRule, counts: SegmentCounts, cells: IntArray) -> FloatArray:
    hits, units = hits_and_units(rule.objective, counts)
    units = np.broadcast_to(units, hits.shape)
    at = np.maximum(cells, 0)
    rate = hits.sum(axis=0)[at] / np.maximum(units.sum(axis=0)[at], 1.0)
    own_units = np.take_along_axis(units[:-1], at[:, None], axis=1)[:, 0]
    return own_weight(own_units * rate, rule.prior_hits)


def _intervals(
    rule: SegmentRule, rows: _Rows, cells: IntArray, *, n_replicates: int, seed: int
) -> list[Interval]:
    """Return each segment's threshold with its interval; limit and prior are held fixed."""
    shape = rows.counts.true_positives.shape
    flat = rows.code * shape[1] + rows.cell
    resampler = CellResampler.by_cell(rows.label, [flat])
    drawn = []
    for (resampled,) in resampler.draw(n_replicates, seed=seed):
        counts = SegmentCounts(
            _cumulated(resampled.positives, shape), _cumulated(resampled.negatives, shape)
        )
        drawn.append(rows.cuts[rule.choose(rule.rates(counts))[:, :-1]])
    replicates = np.concatenate(drawn)
    return [
        percentile_interval(float(rows.cuts[cell]), replicates[:, at])
        for at, cell in enumerate(cells)
    ]


def _cumulated(counts: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    whole = np.zeros((len(counts), shape[0] * shape[1]))
    whole[:, : counts.shape[1]] = counts
    return whole.reshape(-1, *shape).cumsum(axis=-1)

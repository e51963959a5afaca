"""What decisions achieved where labels are known, and what scores promise where they are not.

Declines hide labels. Figures say which share of rows, and of declines, they cover; they are held
against others only where they cover the declines: because their labels are there, or because some
declines were let through and stand for the rest.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from balancing.calibration.thresholds import APPROVE, DECLINE
from balancing.metrics.calibration_slope import calibration_line
from balancing.metrics.estimated_performance import EstimatedPerformance, estimate_performance
from balancing.metrics.intervals import Interval
from balancing.metrics.loss_intervals import calibration_intervals
from balancing.metrics.proportions import share_interval
from balancing.metrics.realised_performance import RealisedPerformance, realised_performance
from flows.monitoring.decided_rows import SEGMENT

MOST_SEGMENTS = 12
"""Values of a column that are told apart, the most frequent first."""

_FEWEST_COVERED = 0.9
_FEWEST_POSITIVES = 2


@dataclass(frozen=True, slots=True)
class Coverage:
    """Which rows figures on labels speak of.

    Attributes:
        rows: All of them.
        mature: Those old enough to be judged.
        labelled: Old enough to be judged, and of a known label.
        positives: Positives among these.
        declines: Rows that the policy declined.
        mature_declines: Those old enough to be judged.
        labelled_declines: Those of a known label.
        explored: Rows let through though they would have been declined.
        labelled_explored: Those of a known label.
    """

    rows: int
    mature: int
    labelled: int
    positives: int
    declines: int
    mature_declines: int
    labelled_declines: int
    explored: int
    labelled_explored: int

    @property
    def share_of_rows(self) -> float | None:
        """Share of the rows whose label is known; None without rows."""
        return self.labelled / self.rows if self.rows else None

    @property
    def share_of_declines(self) -> float | None:
        """Share of the declines whose label is known; None without declines."""
        return self.labelled_declines / self.declines if self.declines else None

    @property
    def hides_declines(self) -> bool:
        """Whether declines old enough to be judged have no label, but for few."""
        return self.labelled_declines < _FEWEST_COVERED * self.mature_declines


@dataclass(frozen=True, slots=True)
class Calibration:
    """Whether scores mean what they say, on labelled rows.

    Attributes:
        slope: Of Cox's line; 1 for calibrated scores.
        error: Expected calibration error.
        relative_error: The same over the share of positives.
    """

    slope: Interval
    error: Interval
    relative_error: Interval


@dataclass(frozen=True, slots=True)
class Performance:
    """Some rows: those of a version, of a segment, or all.

    Attributes:
        about: Which rows, as a person reads it.
        alert_rate: Share reviewed or declined.
        coverage: What figures on labels speak of.
        realised: On the labelled rows as they are; None with too few positives.
        reweighted: The same with explored rows standing for the declines; None without any.
        estimated: An estimate from scores alone, on all rows; None without rows.
        estimated_labelled: An estimate on the labelled rows: beside ``realised`` it says how far
            estimates may be trusted.
        calibration: None with too few positives, or where it was not asked for.
    """

    about: str
    alert_rate: Interval
    coverage: Coverage
    realised: RealisedPerformance | None
    reweighted: RealisedPerformance | None
    estimated: EstimatedPerformance | None
    estimated_labelled: EstimatedPerformance | None
    calibration: Calibration | None

    @property
    def judged(self) -> RealisedPerformance | None:
        """The figures that may be held against others; None where declines hide too much."""
        if self.reweighted is not None:
            return self.reweighted
        return None if self.coverage.hides_declines else self.realised


def performance_of(
    rows: pl.DataFrame, about: str, *, with_calibration: bool = False
) -> Performance:
    """Return what is known, and estimated, of some decided rows.

    Args:
        rows: Of :mod:`flows.monitoring.decided_rows`.
        about: Which rows these are.
        with_calibration: Whether to look at calibration as well.
    """
    labelled = rows.filter(pl.col("label").is_not_null())
    enough = int((labelled["label"] == 1).sum()) >= _FEWEST_POSITIVES
    explored = enough and bool(labelled["is_explored"].any())
    return Performance(
        about=about,
        alert_rate=share_interval((rows["decision"] != APPROVE).to_numpy()),
        coverage=_coverage(rows, labelled),
        realised=_realised(labelled) if enough else None,
        reweighted=_realised(labelled, weighted=True) if explored else None,
        estimated=_estimated(rows),
        estimated_labelled=_estimated(labelled),
        calibration=_calibration(labelled) if with_calibration and enough else None,
    )


def by_version(rows: pl.DataFrame, name: str) -> list[Performance]:
    """Return the performance of each version and policy that decided rows, the newest first."""
    keys = ["model_version", "policy_version"]
    parts = rows.partition_by(keys, as_dict=True, maintain_order=True)
    order = sorted(parts, key=lambda key: tuple(int(each) for each in key), reverse=True)
    return [performance_of(parts[key], f"{name}:{key[0]} with policy {key[1]}") for key in order]


def by_segment(rows: pl.DataFrame, columns: tuple[str, ...]) -> dict[tuple[str, str], Performance]:
    """Return the performance of the most frequent segments, by column and value."""
    found = {}
    for column in columns:
        values = rows[f"{SEGMENT}{column}"]
        counts = values.drop_nulls().value_counts(sort=True, name="rows")
        for value in counts.head(MOST_SEGMENTS)[f"{SEGMENT}{column}"]:
            part = rows.filter((values == value).fill_null(value=False))
            found[column, value] = performance_of(part, f"{column} = {value}")
    return found


def _coverage(rows: pl.DataFrame, labelled: pl.DataFrame) -> Coverage:
    declined, explored = pl.col("decision") == DECLINE, pl.col("is_explored")
    return Coverage(
        rows=rows.height,
        mature=int(rows["is_mature"].sum()),
        labelled=labelled.height,
        positives=int((labelled["label"] == 1).sum()),
        declines=rows.filter(declined).height,
        mature_declines=rows.filter(declined, pl.col("is_mature")).height,
        labelled_declines=labelled.filter(declined).height,
        explored=rows.filter(explored).height,
        labelled_explored=labelled.filter(explored).height,
    )


def _realised(labelled: pl.DataFrame, *, weighted: bool = False) -> RealisedPerformance | None:
    rows = labelled.filter(pl.col("weight").fill_null(0.0) > 0) if weighted else labelled
    if not (rows["label"] == 1).any():
        return None
    return realised_performance(
        rows["label"].to_numpy(),
        rows["risk_score"].to_numpy(),
        (rows["decision"] != APPROVE).to_numpy(),
        weight=rows["weight"].to_numpy() if weighted else None,
    )


def _estimated(rows: pl.DataFrame) -> EstimatedPerformance | None:
    if rows.is_empty():
        return None
    is_alert = (rows["decision"] != APPROVE).to_numpy()
    return estimate_performance(rows["risk_score"].to_numpy(), is_alert)


def _calibration(labelled: pl.DataFrame) -> Calibration | None:
    label, score = labelled["label"].to_numpy(), labelled["risk_score"].to_numpy()
    if label.all() or np.ptp(score) == 0:
        return None
    error = calibration_intervals(label, score)["expected_calibration_error"]
    prevalence = float(label.mean())
    return Calibration(
        slope=calibration_line(label, score).slope,
        error=error,
        relative_error=Interval(
            *(end / prevalence for end in (error.value, error.low, error.high))
        ),
    )

"""Whether thresholds do on test rows what they were tuned to on calibration rows.

An interval that takes the threshold as given is too narrow: the threshold itself came from a
sample. Here both are resampled, the threshold with the calibration rows and the outcome with the
test rows, so the interval holds the target in 95 of 100 repetitions if nothing has drifted.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from balancing.calibration.fitting.calibrators import fit_calibrator
from balancing.calibration.fitting.thresholds import tune_threshold
from balancing.metrics.intervals import Interval, percentile_interval
from balancing.metrics.period import period_days
from infra.objectives import AlertBudgetObjective, MaxFprObjective
from recalibration_evidence.networks import TrainedNetwork
from recalibration_evidence.tables import markdown

MAX_FPR = 0.001
ALERTS_A_DAY = 50
_N_REPLICATES = 1000


@dataclass(frozen=True)
class OperatingPoint:
    """An objective, and what its threshold does on test rows."""

    name: str
    objective: str
    target: float
    calibration: float
    test: Interval
    both: Interval

    @property
    def is_met(self) -> bool:
        """Whether the interval with both kinds of rows resampled holds the target."""
        return self.both.low <= self.target <= self.both.high


def measure(network: TrainedNetwork, *, seed: int = 0) -> list[OperatingPoint]:
    """Return the false-positive rate and, where rows carry times, the alerts a day."""
    calibrator = fit_calibrator(
        network.calibration.log_odds, network.calibration.label, seed=seed
    ).calibrator
    before, after = (
        calibrator.apply(part.log_odds) for part in (network.calibration, network.test)
    )
    points = [max_fpr(network, before, after, seed=seed)]
    time = network.calibration.column("event_time")
    if time is not None and network.name != "creditcard":
        points.append(alert_budget(network, before, after, seed=seed))
    return points


def max_fpr(
    network: TrainedNetwork, before: np.ndarray, after: np.ndarray, *, seed: int
) -> OperatingPoint:
    """Tune to a false-positive rate and read it on test."""
    tuned = tune_threshold(
        network.calibration.label, before, MaxFprObjective(max_fpr=MAX_FPR), seed=seed
    )
    known, new = before[network.calibration.label == 0], after[network.test.label == 0]
    rng = np.random.default_rng(seed)
    fixed = rng.binomial(len(new), np.mean(new >= tuned.lowest_score), _N_REPLICATES) / len(new)
    return OperatingPoint(
        name=network.name,
        objective=f"max_fpr of {MAX_FPR:g}",
        target=MAX_FPR,
        calibration=float(np.mean(known >= tuned.lowest_score)),
        test=percentile_interval(float(np.mean(new >= tuned.lowest_score)), fixed),
        both=percentile_interval(
            float(np.mean(new >= tuned.lowest_score)),
            _rates_with_resampled_threshold(known, new, MAX_FPR, rng),
        ),
    )


def _rates_with_resampled_threshold(
    known: np.ndarray, new: np.ndarray, target: float, rng: np.random.Generator
) -> np.ndarray:
    """Return the rate on resampled new rows above the threshold of resampled known rows.

    The threshold of a resample is the score that as many of the known rows reach as a Poisson
    draw of the target's rows says: the order statistic's own distribution.
    """
    falling = -np.sort(-known)
    ranks = np.clip(rng.poisson(target * len(known), _N_REPLICATES), 1, len(known)) - 1
    shares = np.array([np.mean(new >= falling[rank]) for rank in ranks])
    return np.asarray(rng.binomial(len(new), shares) / len(new))


def alert_budget(
    network: TrainedNetwork, before: np.ndarray, after: np.ndarray, *, seed: int
) -> OperatingPoint:
    """Tune to a number of alerts a day and read their mean over the days of the test part."""
    days = period_days(network.calibration.frame["event_time"].to_numpy())
    assert days is not None
    objective = AlertBudgetObjective(alerts_per_day=ALERTS_A_DAY)
    tuned = tune_threshold(network.calibration.label, before, objective, days=days, seed=seed)
    daily = alerts_by_day(network.test.frame, after >= tuned.lowest_score)
    rng = np.random.default_rng(seed)
    drawn = rng.choice(daily, (_N_REPLICATES, len(daily))).mean(axis=1)
    ranks = rng.poisson(ALERTS_A_DAY * days, _N_REPLICATES)
    falling = -np.sort(-before)
    means = np.array([np.mean(after >= falling[rank - 1]) for rank in ranks])
    scale = means / np.mean(after >= tuned.lowest_score)
    return OperatingPoint(
        name=network.name,
        objective=f"alert_budget of {ALERTS_A_DAY} a day",
        target=float(ALERTS_A_DAY),
        calibration=float(np.sum(before >= tuned.lowest_score) / days),
        test=percentile_interval(float(daily.mean()), drawn),
        both=percentile_interval(float(daily.mean()), drawn * scale),
    )


def alerts_by_day(frame: pl.DataFrame, is_alert: np.ndarray) -> np.ndarray:
    """Return the number of alerts of each day that has rows."""
    by_day = frame.select(day=pl.col("event_time").dt.date(), alert=pl.Series(is_alert))
    return by_day.group_by("day").agg(pl.col("alert").sum())["alert"].to_numpy()


def table(points: list[OperatingPoint]) -> str:
    """Return the figures as a table."""
    header = [
        "data set", "objective", "on calibration rows", "on test rows", "threshold resampled too",
        "holds the target",
    ]  # fmt: skip
    return markdown(
        header,
        [
            [
                point.name,
                point.objective,
                f"{point.calibration:.4g}",
                f"{point.test.value:.4g} [{point.test.low:.4g}, {point.test.high:.4g}]",
                f"[{point.both.low:.4g}, {point.both.high:.4g}]",
                "yes" if point.is_met else "no",
            ]
            for point in points
        ],
    )

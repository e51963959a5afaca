"""How good calibrated scores are on test rows, beside the constant prevalence."""

from dataclasses import dataclass

import numpy as np

from balancing.calibration.fitting.calibrators import fit_calibrator
from balancing.metrics.calibration_quality import log_losses, reference_brier_score
from balancing.metrics.calibration_slope import CalibrationLine, calibration_line
from balancing.metrics.intervals import Interval
from balancing.metrics.loss_intervals import calibration_intervals
from recalibration_evidence.networks import Part, TrainedNetwork
from recalibration_evidence.tables import markdown

TOP_SHARE = 0.01
_TOP_BINS = 10


@dataclass(frozen=True)
class ScoreQuality:
    """Figures of one calibrator on test rows."""

    name: str
    calibrator: str
    is_chosen: bool
    metrics: dict[str, Interval]
    line: CalibrationLine
    top_error: Interval
    top_predicted: float
    top_observed: float
    constant_error: float


def measure(network: TrainedNetwork, *, seed: int = 0) -> list[ScoreQuality]:
    """Return the figures of the network's own probability and of the chosen calibrator."""
    fitted = fit_calibrator(network.calibration.log_odds, network.calibration.label, seed=seed)
    own = 1 / (1 + np.exp(-network.test.log_odds))
    measured = [_quality(network, "none", own, is_chosen=fitted.calibrator.kind == "identity")]
    if fitted.calibrator.kind != "identity":
        applied = fitted.calibrator.apply(network.test.log_odds)
        measured.append(_quality(network, fitted.calibrator.kind, applied, is_chosen=True))
    return measured


def _quality(
    network: TrainedNetwork, calibrator: str, probability: np.ndarray, *, is_chosen: bool
) -> ScoreQuality:
    label = network.test.label
    top = probability >= np.quantile(probability, 1 - TOP_SHARE)
    in_top = calibration_intervals(label[top], probability[top], n_bins=_TOP_BINS)
    return ScoreQuality(
        name=network.name,
        calibrator=calibrator,
        is_chosen=is_chosen,
        metrics=calibration_intervals(label, probability),
        line=calibration_line(label, probability),
        top_error=in_top["expected_calibration_error"],
        top_predicted=float(probability[top].mean()),
        top_observed=float(label[top].mean()),
        constant_error=abs(float(network.calibration.label.mean() - label.mean())),
    )


def table(rows: list[ScoreQuality]) -> str:
    """Return the figures as a table."""
    header = [
        "data set", "calibrator", "log-loss less than the constant's by", "Brier score by",
        "calibration slope", "calibration error, top 1 %", "predicted / observed there",
        "calibration error, all rows (constant)",
    ]  # fmt: skip
    return markdown(
        header,
        [
            [
                row.name,
                f"**{row.calibrator}**" if row.is_chosen else row.calibrator,
                _percent(row.metrics["log_loss_skill"]),
                _percent(row.metrics["brier_skill"]),
                f"{row.line.slope.value:.3f} [{row.line.slope.low:.3f}, {row.line.slope.high:.3f}]",
                f"{row.top_error.value:.4f} [{row.top_error.low:.4f}, {row.top_error.high:.4f}]",
                f"{row.top_predicted:.3f} / {row.top_observed:.3f}",
                f"{row.metrics['expected_calibration_error'].value:.5f} ({row.constant_error:.5f})",
            ]
            for row in rows
        ],
    )


def constant_losses(part: Part) -> tuple[float, float]:
    """Return log-loss and Brier score of the part's own prevalence."""
    label = part.label
    rate = float(label.mean())
    losses = log_losses(label, np.full(len(label), rate))
    return float(losses.mean()), float(reference_brier_score(rate))


def _percent(interval: Interval) -> str:
    value, low, high = (100 * each for each in (interval.value, interval.low, interval.high))
    return f"{value:.1f} % [{low:.1f}, {high:.1f}]"

"""The base rate of the test rows, estimated without their labels and compared with the truth."""

from dataclasses import dataclass

import numpy as np

from balancing.calibration.fitting.calibrators import fit_calibrator
from balancing.calibration.fitting.prior_estimation import (
    PriorEstimate,
    PriorNotEstimable,
    estimate_prior,
)
from recalibration_evidence.networks import TrainedNetwork
from recalibration_evidence.tables import markdown

KEPT = (1.0, 0.5, 0.25)


@dataclass(frozen=True)
class BaseRate:
    """Truth, estimate or refusal, for the test rows with a share of their positives kept."""

    name: str
    kept: float
    truth: float
    mean_probability: float
    estimate: PriorEstimate | str


def measure(network: TrainedNetwork, *, seed: int = 0) -> list[BaseRate]:
    """Estimate the base rate with all, half and a quarter of the test positives."""
    calibration, test = network.calibration, network.test
    calibrator = fit_calibrator(calibration.log_odds, calibration.label, seed=seed).calibrator
    known, new = (calibrator.apply(part.log_odds) for part in (calibration, test))
    rng = np.random.default_rng(seed)
    found = []
    for kept in KEPT:
        rows = (test.label == 0) | (rng.random(len(new)) < kept)
        estimate: PriorEstimate | str
        try:
            estimate = estimate_prior(
                new[rows],
                calibration_label=calibration.label,
                calibration_probability=known,
                seed=seed,
            )
        except PriorNotEstimable as refusal:
            estimate = str(refusal).split(":", 1)[0]
        found.append(
            BaseRate(
                network.name,
                kept,
                float(test.label[rows].mean()),
                float(new[rows].mean()),
                estimate,
            )
        )
    return found


def table(rows: list[BaseRate]) -> str:
    """Return the figures as a table."""
    header = ["data set", "positives kept", "true base rate", "mean probability", "estimated"]
    return markdown(
        header,
        [
            [
                row.name,
                f"{row.kept:.0%}",
                f"{row.truth:.5f}",
                f"{row.mean_probability:.5f}",
                f"refused: {row.estimate}"
                if isinstance(row.estimate, str)
                else str(row.estimate.prevalence),
            ]
            for row in rows
        ],
    )

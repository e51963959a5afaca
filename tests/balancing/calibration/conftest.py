"""Calibration rows as a trained network would leave them, and a policy fitted on them."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from balancing.calibration.fitting.policy import fit_policy
from balancing.calibration.policy import Policy
from balancing.calibration.post_processing.class_dependent import ClassDependentTemperatures

MODEL = "ab" * 32
TEMPERATURES = ClassDependentTemperatures(class_counts=(60_000, 100), mean_logits=(4.0, -4.0))


@dataclass(frozen=True)
class CalibrationRows:
    logits: np.ndarray
    label: np.ndarray
    amount_minor: np.ndarray
    event_time: np.ndarray

    @property
    def log_odds(self) -> np.ndarray:
        return self.logits[:, 1].astype(np.float64) - self.logits[:, 0]

    def fit(self, review: Any, decline: Any, **changes: Any) -> Policy:
        arguments: dict[str, Any] = {
            "amount_minor": self.amount_minor,
            "event_time": self.event_time,
            "settings": {"review": review, "decline": decline},
            "model_sha256": MODEL,
            "post_processing": TEMPERATURES,
            "calibration_fingerprint": "cd" * 32,
            "actor": "ada",
            "reason": "first calibration",
            "seed": 0,
            "created_at": datetime(2026, 1, 2, tzinfo=UTC),
        }
        return fit_policy(self.logits, self.label, **(arguments | changes))


def calibration_rows(
    n_rows: int = 6000, n_positives: int = 60, *, stretch: float = 1.5, seed: int = 0
) -> CalibrationRows:
    """Ten days of rows whose logits are right in order and wrong in size by ``stretch``."""
    rng = np.random.default_rng(seed)
    label = rng.permutation(np.arange(n_rows) < n_positives).astype(np.int8)
    odds = (rng.normal(-7, 1.5, n_rows) + label * rng.normal(6, 2, n_rows)) * stretch
    seconds = np.sort(rng.uniform(0, 10 * 86_400, n_rows)).astype("timedelta64[s]")
    return CalibrationRows(
        logits=np.stack([-odds / 2, odds / 2], axis=1).astype(np.float32),
        label=label,
        amount_minor=rng.lognormal(8.5, 1.0, n_rows).astype(np.int64),
        event_time=np.datetime64("2018-09-01", "us") + seconds,
    )


@pytest.fixture(scope="session")
def make_rows() -> Any:
    return calibration_rows


@pytest.fixture(scope="session")
def rows() -> CalibrationRows:
    return calibration_rows()


@pytest.fixture(scope="session")
def policy(rows: CalibrationRows) -> Policy:
    return rows.fit(
        {"objective": "max_fpr", "max_fpr": 0.01},
        {"objective": "min_precision", "min_precision": 0.8},
    )

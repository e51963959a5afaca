"""Each post-processing before and after: ranking, log-loss, and where its own cut lies."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from balancing.calibration.calibrator import sigmoid
from balancing.calibration.fitting.calibrators import fit_calibrator
from balancing.calibration.fitting.post_processing import (
    Kind,
    TrainingFigures,
    count_segments,
    fit_post_processing,
    make_post_processing,
)
from balancing.calibration.fitting.ranking_check import RankingLowered, check_ranking
from balancing.calibration.post_processing.kinds import PostProcessing
from balancing.calibration.temperatures import log_odds
from balancing.metrics.calibration_quality import log_loss
from balancing.metrics.intervals import Interval, paired_difference
from balancing.metrics.ranking import average_precision, average_precision_of
from infra.objectives import MaxFprObjective
from recalibration_evidence.networks import Part, TrainedNetwork
from recalibration_evidence.tables import markdown

SEGMENT_COLUMNS = {"credit_default": "EDUCATION", "card_stream": "is_night"}
OBJECTIVES = {
    "creditcard": MaxFprObjective(max_fpr=0.001),
    "credit_default": MaxFprObjective(max_fpr=0.02),
    "card_stream": MaxFprObjective(max_fpr=0.001),
}


@dataclass(frozen=True)
class BeforeAfter:
    """One post-processing on one data set; losses and ranking on test rows."""

    name: str
    kind: str
    strength: float
    precision_before: float
    precision_after: float
    difference: Interval
    loss_before: float
    loss_after: float
    calibrated_before: float
    calibrated_after: float
    own_cut: str
    is_refused: bool


def measure(
    network: TrainedNetwork, kind: Kind, *, strength: float | None = None, seed: int = 0
) -> BeforeAfter:
    """Choose the strength on calibration rows, unless given, and compare on test rows."""
    calibration, test = network.calibration, network.test
    segments = [_segments(network, part) for part in (calibration, test)]
    rule = (
        make_post_processing(kind, _figures(network), strength)
        if strength is not None
        else fit_post_processing(
            kind,
            _figures(network),
            calibration.logits,
            calibration.label,
            objective=OBJECTIVES[network.name],
            segment=segments[0],
            seed=seed,
        )
    )
    before, after = test.log_odds, log_odds(rule.apply(test.logits, segments[1]))
    tuned = log_odds(rule.apply(calibration.logits, segments[0]))
    return BeforeAfter(
        name=network.name,
        kind=kind if strength is None else f"{kind}, given",
        strength=_strength(rule),
        precision_before=average_precision(test.label, before),
        precision_after=average_precision(test.label, after),
        difference=paired_difference(test.label, after, before, average_precision_of, seed=seed),
        loss_before=log_loss(test.label, sigmoid(before)),
        loss_after=log_loss(test.label, sigmoid(after)),
        calibrated_before=_calibrated_loss(calibration.log_odds, before, calibration, test, seed),
        calibrated_after=_calibrated_loss(tuned, after, calibration, test, seed),
        own_cut=_own_cut(after, test),
        is_refused=_is_refused(calibration, rule, segments[0], seed),
    )


def _figures(network: TrainedNetwork) -> TrainingFigures:
    column = SEGMENT_COLUMNS.get(network.name)
    training: dict[str, Any] = network.training
    return TrainingFigures(
        class_counts=tuple(training["class_counts"]),
        mean_logits=tuple(training["mean_logits"]),
        head=training["head"],
        segment_counts={}
        if column is None
        else count_segments(network.train["label"].to_numpy(), _text(network.train[column])),
    )


def _segments(network: TrainedNetwork, part: Part) -> np.ndarray | None:
    column = SEGMENT_COLUMNS.get(network.name)
    return None if column is None else _text(part.frame[column])


def _text(column: Any) -> np.ndarray:
    return np.array(column.cast(str).to_list(), dtype=object)


def _strength(rule: PostProcessing) -> float:
    for name in ("gamma", "tau", "temperature"):
        if hasattr(rule, name):
            return float(getattr(rule, name))
    raise TypeError(rule)


def _calibrated_loss(
    fit_odds: np.ndarray, odds: np.ndarray, calibration: Part, test: Part, seed: int
) -> float:
    fitted = fit_calibrator(fit_odds, calibration.label, seed=seed).calibrator
    return log_loss(test.label, fitted.apply(odds))


def _is_refused(
    calibration: Part, rule: PostProcessing, segment: np.ndarray | None, seed: int
) -> bool:
    try:
        check_ranking(calibration.label, calibration.logits, rule, segment=segment, seed=seed)
    except RankingLowered:
        return True
    return False


def _own_cut(after: np.ndarray, test: Part) -> str:
    """Say what the rule's own cut, even odds after it, does on test rows."""
    alert = after >= 0
    rate, recall = (alert[test.label == each].mean() for each in (0, 1))
    return f"{rate:.3g}, {recall:.3g}"


def table(rows: list[BeforeAfter]) -> str:
    """Return the figures as a table."""
    header = [
        "data set", "post-processing", "strength", "average precision before", "after less before",
        "log-loss, not calibrated", "log-loss, calibrated", "FPR, recall at its own cut",
    ]  # fmt: skip
    return markdown(
        header,
        [
            [
                row.name,
                row.kind,
                f"{row.strength:.3g}",
                f"{row.precision_before:.4f}",
                _difference(row),
                f"{row.loss_before:.5f} → {row.loss_after:.5f}",
                f"{row.calibrated_before:.5f} → {row.calibrated_after:.5f}",
                row.own_cut,
            ]
            for row in rows
        ],
    )


def _difference(row: BeforeAfter) -> str:
    if row.precision_after == row.precision_before:
        return "0, to the last bit"
    change = row.difference
    refused = ", refused" if row.is_refused else ""
    return f"{change.value:+.4f} [{change.low:+.4f}, {change.high:+.4f}]{refused}"

"""Makes a post-processing of a kind, its strength given or chosen on calibration rows."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike

from balancing.calibration.fitting.calibrators import (
    CalibrationError,
    check_calibration_rows,
    fit_temperature,
)
from balancing.calibration.fitting.threshold_family import STRENGTHS, tune_within_family
from balancing.calibration.post_processing.class_dependent import ClassDependentTemperatures
from balancing.calibration.post_processing.kinds import PostProcessing
from balancing.calibration.post_processing.logit_adjustment import LogitAdjustment
from balancing.calibration.post_processing.plain_temperature import PlainTemperature
from balancing.calibration.post_processing.segments import SegmentTemperatures
from balancing.calibration.post_processing.tau_normalisation import TauNormalisation
from balancing.calibration.temperatures import log_odds
from balancing.metrics.intervals import paired_difference
from balancing.metrics.ranking import average_precision, average_precision_of
from infra.objectives import Objective

logger = logging.getLogger(__name__)

Kind: TypeAlias = Literal[
    "class_dependent",
    "segment_class_dependent",
    "logit_adjustment",
    "temperature",
    "tau_normalisation",
]
KINDS: tuple[str, ...] = get_args(Kind)

_ONE_STANDARD_ERROR = 0.6827


@dataclass(frozen=True, slots=True)
class TrainingFigures:
    """What a post-processing takes from training.

    Attributes:
        class_counts: Training rows per class: negative, positive.
        mean_logits: Mean training logit per class.
        head: Weight norms and bias per class; ``None`` for networks of several members.
        segment_counts: Training rows per class of each segment; empty without segments.
    """

    class_counts: tuple[int, ...]
    mean_logits: tuple[float, ...]
    head: Mapping[str, tuple[float, ...]] | None = None
    segment_counts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


def count_segments(label: ArrayLike, segment: ArrayLike) -> dict[str, tuple[int, ...]]:
    """Return negatives and positives per segment, rows without one left out.

    Shape:
        ``(n_rows,)`` each.
    """
    keys = np.asarray(segment, dtype=object)
    known = np.array([key is not None for key in keys], dtype=bool)
    names, place = np.unique(keys[known].astype(str), return_inverse=True)
    positive = np.asarray(label)[known] == 1
    counts = [np.bincount(place[positive == each], minlength=len(names)) for each in (False, True)]
    return {
        str(name): (int(negatives), int(positives))
        for name, negatives, positives in zip(names, *counts, strict=True)
    }


def make_post_processing(kind: Kind, training: TrainingFigures, strength: float) -> PostProcessing:
    """Return the post-processing of a kind and strength (gamma, tau, or the temperature itself).

    Raises:
        CalibrationError: If the training figures lack what the kind needs.
        ValidationError: If the strength is out of range.
    """
    return _MAKERS[kind](training, strength)


def fit_post_processing(
    kind: Kind,
    training: TrainingFigures,
    logits: ArrayLike,
    label: ArrayLike,
    *,
    objective: Objective,
    segment: ArrayLike | None = None,
    seed: int = 0,
    **period: Any,
) -> PostProcessing:
    """Return the post-processing of a kind with its strength chosen on calibration rows.

    ``temperature``: of least log-loss. ``segment_class_dependent``: of highest average precision,
    0 unless that beats plain logits by more than one standard error of the paired difference. The
    others keep the ranking; theirs is the strength whose cut (the log-odds from which the
    positive logit exceeds the negative one) serves the objective best, 0 where none can.

    Args:
        kind: Which.
        training: What it takes from training.
        logits: Of rows that no network behind them was fitted on.
        label: 0 or 1 per row.
        objective: What the review threshold is for.
        segment: Each row's segment.
        seed: Decides resamples.
        **period: ``amount_minor``, ``days``, ``minor_units_per_major``, as the objective needs.

    Shape:
        ``(n_rows, 2)`` logits, ``(n_rows,)`` else.

    Raises:
        CalibrationError: If there are too few positives, one constant score, or the training
            figures lack what the kind needs.
    """
    odds, labels = check_calibration_rows(log_odds(logits), label)
    if kind == "temperature":
        return PlainTemperature(temperature=fit_temperature(odds, labels).temperature)
    family = {each: make_post_processing(kind, training, each) for each in STRENGTHS}
    if kind == "segment_class_dependent":
        chosen = _best_ranking(family, np.asarray(logits), labels, segment, seed)
    else:
        found = tune_within_family(labels, odds, objective, family, **period)  # type: ignore[arg-type]
        chosen = 0.0 if found is None else found.strength
    logger.info("strength chosen", extra={"kind": kind, "strength": chosen})
    return family[chosen]


def _best_ranking(
    family: Mapping[float, PostProcessing],
    logits: np.ndarray[Any, Any],
    label: ArrayLike,
    segment: ArrayLike | None,
    seed: int,
) -> float:
    scores = {each: log_odds(rule.apply(logits, segment)) for each, rule in family.items()}
    best = max(scores, key=lambda each: (average_precision(label, scores[each]), -each))
    gain = paired_difference(
        label,
        scores[best],
        scores[0.0],
        average_precision_of,
        confidence=_ONE_STANDARD_ERROR,
        seed=seed,
    )
    return best if gain.low > 0 else 0.0


def _class_dependent(training: TrainingFigures, gamma: float) -> PostProcessing:
    return ClassDependentTemperatures(
        gamma=gamma, class_counts=training.class_counts, mean_logits=training.mean_logits
    )


def _segments(training: TrainingFigures, gamma: float) -> PostProcessing:
    if not training.segment_counts:
        raise CalibrationError(
            "segment_class_dependent needs training rows per segment, and there are none. Name "
            "columns under policy.segments in the contract, or choose class_dependent."
        )
    return SegmentTemperatures(
        gamma=gamma,
        class_counts=training.class_counts,
        mean_logits=training.mean_logits,
        segment_counts=training.segment_counts,
    )


def _logit_adjustment(training: TrainingFigures, tau: float) -> PostProcessing:
    return LogitAdjustment(tau=tau, class_counts=training.class_counts)


def _temperature(training: TrainingFigures, temperature: float) -> PostProcessing:
    del training
    return PlainTemperature(temperature=temperature)


def _tau_normalisation(training: TrainingFigures, tau: float) -> PostProcessing:
    if training.head is None:
        raise CalibrationError(
            "tau_normalisation needs a network with a single head, and this model has none: it "
            "averages several members, or is no network. Train with n_members = 1, or choose "
            "logit_adjustment or class_dependent."
        )
    return TauNormalisation(tau=tau, **training.head)


_MAKERS: dict[str, Callable[[TrainingFigures, float], PostProcessing]] = {
    "class_dependent": _class_dependent,
    "segment_class_dependent": _segments,
    "logit_adjustment": _logit_adjustment,
    "temperature": _temperature,
    "tau_normalisation": _tau_normalisation,
}

"""Strengths chosen on calibration rows, and what each kind needs from training."""

from typing import Any

import numpy as np
import pytest

from balancing.calibration.fitting.calibrators import CalibrationError
from balancing.calibration.fitting.post_processing import (
    KINDS,
    TrainingFigures,
    count_segments,
    fit_post_processing,
    make_post_processing,
)
from balancing.calibration.post_processing.class_dependent import ClassDependentTemperatures
from balancing.calibration.post_processing.plain_temperature import PlainTemperature
from balancing.calibration.post_processing.segments import SegmentTemperatures
from balancing.calibration.temperatures import log_odds
from balancing.metrics.ranking import average_precision
from infra.errors import InputError
from infra.objectives import MaxFprObjective, MinRecallObjective

FPR = MaxFprObjective(max_fpr=0.01)
TRAINING = TrainingFigures(
    class_counts=(60_000, 600),
    mean_logits=(4.0, -4.0),
    head={"weight_norms": (2.0, 2.0), "bias": (2.0, -2.0)},
    segment_counts={"web": (1000, 300), "shop": (59_000, 300)},
)


def rows_of_two_segments() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The network underrates the segment in which positives are rare."""
    rng = np.random.default_rng(0)
    is_shop = rng.random(6000) < 0.5
    label = (rng.random(6000) < np.where(is_shop, 0.02, 0.2)).astype(np.int64)
    odds = rng.normal(-6, 1.5, 6000) + 4 * label - 2.5 * is_shop
    segment = np.where(is_shop, "shop", "web").astype(object)
    return label, np.stack([-odds / 2, odds / 2], axis=1), segment


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_made_and_chosen(kind: Any, rows: Any) -> None:
    segment = np.array(["web", "shop"] * (len(rows.label) // 2), dtype=object)

    given = make_post_processing(kind, TRAINING, 0.5)
    chosen = fit_post_processing(
        kind, TRAINING, rows.logits, rows.label, objective=FPR, segment=segment
    )

    assert given.kind == chosen.kind == kind


def test_the_chosen_gamma_cuts_where_the_objective_is_met(rows: Any) -> None:
    chosen = fit_post_processing(
        "class_dependent", TRAINING, rows.logits, rows.label, objective=FPR
    )

    assert isinstance(chosen, ClassDependentTemperatures)
    negatives = rows.log_odds[rows.label == 0]
    assert chosen.gamma > 0
    assert (negatives >= chosen.threshold).mean() <= 0.01
    assert (log_odds(chosen.apply(rows.logits)) >= 0).sum() == (
        rows.log_odds >= chosen.threshold
    ).sum()


def test_an_objective_that_no_strength_meets_leaves_logits_as_they_are() -> None:
    rng = np.random.default_rng(0)
    label = np.arange(400) < 40
    odds = rng.normal(-30, 1, 400)
    logits = np.stack([-odds / 2, odds / 2], axis=1)

    chosen = fit_post_processing(
        "logit_adjustment", TRAINING, logits, label, objective=MinRecallObjective(min_recall=0.9)
    )

    assert chosen.apply(logits).tobytes() == logits.tobytes()


def test_the_temperature_is_the_one_of_least_loss(rows: Any) -> None:
    """The rows' logits are 1.5 times too long."""
    chosen = fit_post_processing("temperature", TRAINING, rows.logits, rows.label, objective=FPR)

    assert isinstance(chosen, PlainTemperature)
    assert chosen.temperature > 1


def test_segments_are_tempered_where_that_ranks_better() -> None:
    label, logits, segment = rows_of_two_segments()
    training = TrainingFigures(
        class_counts=(53_000, 7000),
        mean_logits=(4.0, -4.0),
        segment_counts=count_segments(label, segment),
    )

    chosen = fit_post_processing(
        "segment_class_dependent", training, logits, label, objective=FPR, segment=segment
    )

    assert isinstance(chosen, SegmentTemperatures)
    assert chosen.gamma > 0
    tempered = log_odds(chosen.apply(logits, segment))
    assert average_precision(label, tempered) > average_precision(label, log_odds(logits))


def test_segments_that_rank_well_already_are_left_alone(rows: Any) -> None:
    segment = np.array(["web", "shop"] * (len(rows.label) // 2), dtype=object)

    chosen = fit_post_processing(
        "segment_class_dependent", TRAINING, rows.logits, rows.label, objective=FPR, segment=segment
    )

    assert isinstance(chosen, SegmentTemperatures)
    assert chosen.gamma == 0


def test_segments_are_counted_and_missing_ones_left_out() -> None:
    counts = count_segments([1, 0, 0, 1, 0], np.array(["b", "a", "b", None, "b"], dtype=object))

    assert counts == {"a": (1, 0), "b": (2, 1)}


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("tau_normalisation", "needs a network with a single head"),
        ("segment_class_dependent", "needs training rows per segment"),
    ],
)
def test_what_training_does_not_give_is_refused_in_one_line(kind: Any, message: str) -> None:
    bare = TrainingFigures(class_counts=(90, 10), mean_logits=(1.0, -1.0))

    with pytest.raises(CalibrationError, match=message) as caught:
        make_post_processing(kind, bare, 0.5)

    assert isinstance(caught.value, InputError)
    assert "\n" not in str(caught.value)


def test_too_few_positives_are_refused(make_rows: Any) -> None:
    few = make_rows(500, 4)

    with pytest.raises(CalibrationError, match="at least 10 positives"):
        fit_post_processing("class_dependent", TRAINING, few.logits, few.label, objective=FPR)

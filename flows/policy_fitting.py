"""Fits what a policy file asks for on the rows that may calibrate a model."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from balancing.calibration.fitting.policy import fit_policy
from balancing.calibration.fitting.post_processing import (
    TrainingFigures,
    fit_post_processing,
    make_post_processing,
)
from balancing.calibration.fitting.prior_estimation import PriorEstimate, estimate_prior
from balancing.calibration.policy import Policy
from balancing.calibration.post_processing.kinds import PostProcessing
from balancing.calibration.prior_shift import PriorShift
from balancing.metrics.period import period_days
from features.labels import LABEL
from features.segments import segment_keys
from flows.calibration_rows import CalibrationRows, logits_of
from flows.policy_file import PolicyFile
from flows.recalibration import values_or_none


@dataclass(frozen=True, slots=True)
class PolicyRequest:
    """A policy to fit.

    Attributes:
        model_sha256: The model it is for.
        minor_units_per_major: Minor units in one unit of the amounts' currency.
        rows: What it is fitted on.
        wanted: What it is for.
        training: What a post-processing takes from training.
        actor: Who asks.
        reason: Why.
        anchor: A policy whose thresholds are kept at their false-positive rates; None where the
            objectives decide.
        force: Accept a post-processing that ranks worse with certainty.
        seed: Decides folds and resamples.
    """

    model_sha256: str
    minor_units_per_major: int
    rows: CalibrationRows
    wanted: PolicyFile
    training: TrainingFigures
    actor: str
    reason: str
    anchor: Policy | None = None
    force: bool = False
    seed: int = 0


def fit_requested_policy(
    request: PolicyRequest, unlabelled: pl.DataFrame
) -> tuple[Policy, PriorEstimate | None]:
    """Return the policy, and the estimate of its base rate where one is asked for.

    Args:
        request: What to fit, on what.
        unlabelled: Recent rows without labels, to estimate a base rate on.

    Raises:
        CalibrationError: If there are too few positives, one constant score, or an objective or
            the post-processing lacks what it needs.
        RankingLowered: If the post-processing ranks worse with certainty, unless forced.
        PriorNotEstimable: If the unlabelled rows cannot carry an estimate.
    """
    arrays = _Arrays(request)
    post_processing = _post_processing(request, arrays)
    prior = request.wanted.prior
    if prior is None:
        return _fitted(request, arrays, post_processing), None
    if prior.base_rate is not None:
        shift = PriorShift(
            trained_prevalence=float(arrays.label.mean()), deployed_prevalence=prior.base_rate
        )
        return _fitted(request, arrays, post_processing, shift), None
    plain = _fitted(request, arrays, post_processing)
    segment = segment_keys(unlabelled, request.wanted.segments)
    estimate = estimate_prior(
        plain.risk_score(logits_of(unlabelled), segment),
        calibration_label=arrays.label,
        calibration_probability=plain.risk_score(arrays.logits, arrays.segment),
        seed=request.seed,
    )
    return _fitted(request, arrays, post_processing, estimate.shift), estimate


class _Arrays:
    """The labelled rows of a request as arrays, each ``(n_rows, …)``."""

    def __init__(self, request: PolicyRequest) -> None:
        self._rows = request.rows.labelled
        self.logits = logits_of(self._rows)
        self.label: NDArray[np.int8] = self._rows[LABEL].to_numpy()
        self.event_time = values_or_none(self._rows, "event_time")
        self.segment = segment_keys(self._rows, request.wanted.segments)
        self.amounts: dict[str, Any] = {
            "amount_minor": values_or_none(self._rows, "amount_minor"),
            "minor_units_per_major": request.minor_units_per_major,
        }

    @cached_property
    def days(self) -> float | None:
        return None if self.event_time is None else period_days(self.event_time)


def _fitted(
    request: PolicyRequest,
    arrays: _Arrays,
    post_processing: PostProcessing,
    prior_shift: PriorShift | None = None,
) -> Policy:
    return fit_policy(
        arrays.logits,
        arrays.label,
        event_time=arrays.event_time,
        segment=arrays.segment,
        settings=request.wanted.objectives,
        model_sha256=request.model_sha256,
        post_processing=post_processing,
        prior_shift=prior_shift,
        anchor=request.anchor,
        exploration=request.wanted.exploration,
        force=request.force,
        calibration_fingerprint=request.rows.fingerprint,
        actor=request.actor,
        reason=request.reason,
        seed=request.seed,
        **arrays.amounts,
    )


def _post_processing(request: PolicyRequest, arrays: _Arrays) -> PostProcessing:
    """Return what is done to the logits; nothing unless it is asked for."""
    choice = request.wanted.post_processing
    if choice is None:
        return make_post_processing("class_dependent", request.training, 0.0)
    if choice.strength is not None:
        return make_post_processing(choice.kind, request.training, choice.strength)
    return fit_post_processing(
        choice.kind,
        request.training,
        arrays.logits,
        arrays.label,
        objective=request.wanted.review,
        segment=arrays.segment,
        seed=request.seed,
        days=arrays.days,
        **arrays.amounts,
    )


def segment_counts(counts: pl.DataFrame, columns: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    """Return training negatives and positives per segment, of the kept training counts."""
    if not columns:
        return {}
    keyed = counts.with_columns(segment=pl.Series(segment_keys(counts, columns), dtype=pl.String))
    sums = keyed.group_by("segment").agg(pl.col("negatives", "positives").sum()).sort("segment")
    return {name: (low, high) for name, low, high in sums.drop_nulls("segment").rows()}

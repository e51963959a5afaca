"""Makes a new policy for a released model: which rows, what for, fitted; nothing is written."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from balancing.calibration.fitting.post_processing import TrainingFigures
from balancing.calibration.fitting.prior_estimation import PriorEstimate
from balancing.calibration.policy import Policy
from features.labels import LABEL
from flows.calibration_rows import (
    CalibrationRows,
    NoCalibrationRows,
    kept_calibration_rows,
    require_positives,
    training_segments,
)
from flows.impact_figures import MOST_SEGMENTS
from flows.kept_rows import COUNT_COLUMNS
from flows.policy_file import PolicyFile, read_policy_file
from flows.policy_fitting import PolicyRequest, fit_requested_policy, segment_counts
from flows.recalibration import minor_units_of
from flows.row_choice import calibration_rows
from serving.bundle import BundleManifest, ModelBundle
from serving.model_store import ModelStore

_MOST_COLUMNS = 3
_PREVIEWED = timedelta(days=28)


@dataclass(frozen=True, slots=True)
class Recalibration:
    """What a person asks for when a released model is to decide otherwise.

    Attributes:
        reference: ``NAME``, ``NAME@alias`` or ``NAME:version``.
        data: Table of the rows to calibrate on.
        actor: Who asks.
        reason: Why.
        policy_file: What the new policy is for; default: the contract's objectives.
        anchor: Version of a policy whose false-positive rates the new thresholds keep.
        history: Table of earlier rows, for features over time.
        as_of: The moment whose knowledge of labels counts.
        force: Accept a post-processing that ranks worse with certainty.
        seed: Decides folds and resamples.
    """

    reference: str
    data: str
    actor: str
    reason: str
    policy_file: Path | None = None
    anchor: str | None = None
    history: str | None = None
    as_of: datetime | None = None
    force: bool = False
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Made:
    """A policy that nobody has heard of yet, and what it was made from.

    Attributes:
        policy: The new policy.
        wanted: What it is for.
        calibration: Rows whose labelled part it was fitted on.
        preview: Rows of the last period, labelled or not, that it is shown on.
        is_shown_on_own_rows: Whether its own calibration rows are among these.
        shown_columns: Columns of these rows that the preview tells apart.
        prior: How the base rate was estimated, where it was.
    """

    policy: Policy
    wanted: PolicyFile
    calibration: CalibrationRows
    preview: CalibrationRows
    is_shown_on_own_rows: bool
    shown_columns: tuple[str, ...]
    prior: PriorEstimate | None


def make_policy(
    store: ModelStore,
    bundle: ModelBundle,
    version: str,
    asked: Recalibration,
    *,
    compared_columns: tuple[str, ...] = (),
) -> Made:
    """Return the policy that serves what is asked for; nothing is written.

    Args:
        store: Where the version and what it kept are.
        bundle: The verified bundle of the version.
        version: Its number.
        asked: What is asked for.
        compared_columns: Columns that the policy it is compared with goes by.

    Raises:
        WhitecrowError: If the rows, the objectives or the post-processing do not allow one.
    """
    name, contract = bundle.manifest.name, bundle.contract
    wanted = read_policy_file(asked.policy_file, contract)
    anchor = None if asked.anchor is None else store.policy(name, asked.anchor)
    if anchor is not None and anchor.thresholds.needs_segments:
        wanted = wanted.model_copy(update={"segments": anchor.segment_columns})
    counts = training_segments(store, name, version)
    given = calibration_rows(
        store,
        bundle,
        version,
        asked.data,
        columns=wanted.segments,
        also=_columns(compared_columns, counts),
        history=asked.history,
        as_of=asked.as_of,
    )
    rows = given
    if wanted.prior is not None and wanted.prior.estimate:
        _require_unlabelled(given)
        if given.labelled.is_empty():
            rows = kept_calibration_rows(store, name, version, wanted.segments)
    require_positives(rows, contract, purpose="The calibrator and the thresholds")
    request = PolicyRequest(
        model_sha256=bundle.model_sha256,
        minor_units_per_major=minor_units_of(contract),
        rows=rows,
        wanted=wanted,
        training=_training_figures(bundle.manifest, counts, wanted),
        actor=asked.actor,
        reason=asked.reason,
        anchor=anchor,
        force=asked.force,
        seed=asked.seed,
    )
    policy, prior = fit_requested_policy(request, given.unlabelled)
    preview = replace(given, frame=_last_period(given.frame))
    return Made(
        policy=policy,
        wanted=wanted,
        calibration=rows,
        preview=preview,
        is_shown_on_own_rows=rows is given,
        shown_columns=_shown_columns(preview.frame, wanted, counts),
        prior=prior,
    )


def _last_period(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the newest rows: some weeks up to the newest known label, and all after it."""
    is_dated = pl.col("event_time").is_not_null()
    newest = rows.filter(is_dated & pl.col(LABEL).is_not_null())["event_time"].max()
    newest = newest if newest is not None else rows["event_time"].max()
    if not isinstance(newest, datetime):
        return rows
    return rows.filter(pl.col("event_time") > newest - _PREVIEWED)


def _require_unlabelled(rows: CalibrationRows) -> None:
    if rows.unlabelled.is_empty():
        raise NoCalibrationRows(
            f"prior.estimate reads the base rate off rows without labels, and {rows.origin} all "
            "have one. Bring recent rows whose labels are not known yet, or state prior.base_rate."
        )


def _columns(wanted: tuple[str, ...], counts: pl.DataFrame | None) -> tuple[str, ...]:
    """Return the columns that may segment rows, those that policies go by first."""
    kept = [] if counts is None else counts.drop(COUNT_COLUMNS).columns
    return tuple(dict.fromkeys((*wanted, *kept)))


def _shown_columns(
    rows: pl.DataFrame, wanted: PolicyFile, counts: pl.DataFrame | None
) -> tuple[str, ...]:
    """Return the columns that a preview tells apart: the policy's, else some of few values."""
    if wanted.segments:
        return wanted.segments
    few = [name for name in _columns((), counts) if 1 < rows[name].n_unique() <= MOST_SEGMENTS]
    return tuple(few[:_MOST_COLUMNS])


def _training_figures(
    manifest: BundleManifest, counts: pl.DataFrame | None, wanted: PolicyFile
) -> TrainingFigures:
    return TrainingFigures(
        class_counts=manifest.class_counts,
        mean_logits=manifest.mean_logits,
        head=manifest.head,
        segment_counts={} if counts is None else segment_counts(counts, wanted.segments),
    )

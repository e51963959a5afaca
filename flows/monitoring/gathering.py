"""Gathering: the rows of a window, those they are held against, and what is known of both."""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import polars as pl

from features.segments import segment_keys
from flows.calibration_rows import NoCalibrationRows, kept_calibration_rows, logits_of
from flows.kept_rows import REFERENCE_FILE, read_reference
from flows.monitoring.config import MonitorConfig, MonitorConfigError
from flows.monitoring.decided_rows import (
    DECIDED,
    KNOWN,
    SEGMENT,
    DecidedRows,
    MonitoredModel,
    Spans,
    segment_text,
)
from flows.monitoring.feature_sample import FeatureSample, sample_of
from flows.monitoring.label_knowledge import reported_labels, with_knowledge
from flows.monitoring.log_rows import read_log
from flows.monitoring.request import MonitorRequest
from flows.monitoring.table_rows import make_spans, score_table_rows, short_past, table_spans
from infra.settings import Settings
from serving.decisions.opening import open_store
from serving.decisions.personal_features import personal_features
from serving.model_references import UnknownModel
from serving.model_store import ModelStore
from serving.outcomes import OutcomeBook
from serving.verification import load_scorer


@dataclass(frozen=True, slots=True)
class Gathered:
    """All that a look is made of.

    Attributes:
        model: Whose work it is about.
        source: Where the rows come from, as a person reads it.
        spans: Their periods; None where rows carry no time.
        window: The rows looked at.
        reference: Those they are held against; without rows where there are none.
        reference_says: What these are, as a person reads it.
        maturing: Rows whose reports say how fast labels become known.
        short_past: What to say where a table holds less of the past than its features look back
            to; None where it does not.
    """

    model: MonitoredModel
    source: str
    spans: Spans | None
    window: DecidedRows
    reference: DecidedRows
    reference_says: str
    maturing: pl.DataFrame
    short_past: str | None


def monitored_model(
    settings: Settings, reference: str, config: MonitorConfig, *, of_table: bool
) -> MonitoredModel:
    """Return the version that a reference means, and the columns to tell apart.

    Raises:
        UnknownModel: If it means nothing.
        MonitorConfigError: If a segment is no feature, or personal.
    """
    store = ModelStore.open(settings)
    found = store.resolve(reference)
    bundle = store.bundle(found.name, found.model_version)
    policy, contract = store.policy(found.name, found.policy_version), bundle.contract
    personal = personal_features(contract)
    known = [name for name in bundle.feature_set.names if name not in personal]
    if of_table:
        known += contract.columns.groups
    wanted = config.segments
    if wanted is None:
        named = (*policy.segment_columns, *contract.policy.segments)
        more = contract.columns.groups if of_table else ()
        wanted = tuple(dict.fromkeys((*(n for n in named if n in known), *more)))
    for name in wanted:
        if name not in known:
            raise MonitorConfigError(
                f"segments: {name!r} is no feature of {found.name}:{found.model_version} that may "
                "be shown. Name a categorical or derived column; groups are in tables alone."
            )
    return MonitoredModel(
        store, bundle, policy, found.name, found.model_version, found.policy_version, wanted
    )


def gather(settings: Settings, request: MonitorRequest, config: MonitorConfig) -> Gathered:
    """Return the rows of a look.

    Raises:
        UnknownModel: If there is no such model.
        LogUnreachable: If the decision log does not answer.
        DataError: If the table cannot be read or does not fit.
        WindowUnusable: If no row can lie in the window.
    """
    model = monitored_model(settings, request.name, config, of_table=request.data is not None)
    if request.data is not None:
        return _of_table(request, config, model)
    return _of_log(settings, request, config, model)


def _of_log(
    settings: Settings, request: MonitorRequest, config: MonitorConfig, model: MonitoredModel
) -> Gathered:
    as_of = request.as_of or datetime.now(UTC)
    until = request.until or as_of
    since = request.since or until - config.window
    spans = make_spans(since, until, as_of, config.reference.days, config.maturity)
    store = open_store(settings)
    try:
        rows = read_log(store, model, spans, n_kept=config.sampled_rows)
        location = store.location
    finally:
        store.close()
    contract = model.bundle.contract
    reported = reported_labels(OutcomeBook(settings.root), rows.frame, contract.name, as_of)
    known = with_knowledge(rows.frame, reported, contract, as_of, _exploration_rates(model))
    happened = pl.col("happened_at")
    window = DecidedRows(
        known.filter(happened >= spans.since), rows.window, rows.n_without_features
    )
    if spans.reference_since is None:
        reference, says = _kept(model, config)
    else:
        is_before = (happened >= spans.reference_since) & (happened < spans.since)
        reference = DecidedRows(known.filter(is_before), rows.reference)
        says = _before_says(spans)
    maturing = known.filter(happened >= spans.maturity_since)
    return Gathered(
        model, f"the decision log {location}", spans, window, reference, says, maturing, None
    )


def _of_table(request: MonitorRequest, config: MonitorConfig, model: MonitoredModel) -> Gathered:
    assert request.data is not None
    reference = f"{model.name}:{model.model_version}"
    scorer = load_scorer(model.store, request.name)
    table = score_table_rows(request.data, model, scorer, request.as_of)
    days = config.reference.days
    spans = table_spans(
        table.frame,
        since=request.since,
        until=request.until,
        as_of=request.as_of,
        reference_days=days,
        maturity=config.maturity,
    )
    n_kept = config.sampled_rows
    since, until = (None, None) if spans is None else (spans.since, spans.until)
    window = table.between(since, until, model, n_kept=n_kept)
    if spans is None or spans.reference_since is None:
        held_against, says = _kept(model, config)
    else:
        held_against = table.between(spans.reference_since, spans.since, model, n_kept=n_kept)
        says = _before_says(spans)
    maturing = table.frame
    if spans is not None:
        happened = pl.col("happened_at")
        maturing = maturing.filter(happened >= spans.maturity_since, happened < spans.until)
    source = f"{request.data}, scored by {reference}"
    past = short_past(table.frame, spans, model.bundle.contract)
    return Gathered(model, source, spans, window, held_against, says, maturing, past)


def _exploration_rates(model: MonitoredModel) -> dict[str, float]:
    """Return the share of declines that each policy version lets through, of those that do."""
    rates = {}
    for version in model.store.policy_versions(model.name):
        try:
            exploration = model.store.policy(model.name, version).exploration
        except UnknownModel:
            continue
        if exploration is not None:
            rates[version] = exploration.rate
    return rates


def _before_says(spans: Spans) -> str:
    assert spans.reference_since is not None
    days = (spans.since - spans.reference_since).total_seconds() / 86_400
    return f"the {days:g} days before the window"


def _kept(model: MonitoredModel, config: MonitorConfig) -> tuple[DecidedRows, str]:
    """Return the rows that were held out when the version was trained, as its policy decides."""
    version = f"{model.name}:{model.model_version}"
    try:
        kept = kept_calibration_rows(
            model.store, model.name, model.model_version, model.policy.segment_columns
        ).frame
    except NoCalibrationRows:
        frame = pl.DataFrame(schema=DECIDED | KNOWN | _segment_types(model))
        return DecidedRows(frame, None), f"nothing: no held-out rows were kept with {version}"
    says = f"the {kept.height:,} rows held out when {version} was trained"
    return DecidedRows(_decided(kept, model), _kept_features(model, config)), says


def _decided(kept: pl.DataFrame, model: MonitoredModel) -> pl.DataFrame:
    score, decision = model.policy.decide(
        logits_of(kept),
        amount_minor=kept["amount_minor"].cast(pl.Float64).to_numpy(),
        segment=segment_keys(kept, model.policy.segment_columns),
    )
    segments = [
        (segment_text(kept[name]) if name in kept.columns else pl.lit(None, dtype=pl.String))
        .alias(f"{SEGMENT}{name}")
        for name in model.segments
    ]  # fmt: skip
    return kept.select(
        "row_id",
        pl.col("event_time").alias("happened_at"),
        risk_score=pl.Series(score),
        decision=pl.Series(np.asarray(decision, dtype=np.int8)),
        is_explored=pl.lit(value=False),
        is_degraded=pl.lit(value=False),
        model_version=pl.lit(model.model_version),
        policy_version=pl.lit(model.policy_version),
        label=pl.col("label").cast(pl.Int8),
        is_mature=pl.lit(value=True),
        is_positive=(pl.col("label") == 1).fill_null(value=False),
        known_after=pl.lit(None, dtype=pl.Float64),
        age=pl.lit(None, dtype=pl.Float64),
        weight=pl.lit(1.0),
    ).with_columns(segments)


def _kept_features(model: MonitoredModel, config: MonitorConfig) -> FeatureSample | None:
    path = model.store.kept(model.name, model.model_version, REFERENCE_FILE)
    if path is None:
        return None
    feature_set = model.bundle.feature_set
    arrays = read_reference(path, feature_set)
    without = personal_features(model.bundle.contract)
    return sample_of([arrays], feature_set, without, config.sampled_rows)


def _segment_types(model: MonitoredModel) -> dict[str, type[pl.DataType]]:
    return {f"{SEGMENT}{name}": pl.String for name in model.segments}

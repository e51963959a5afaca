"""Which rows may calibrate a released model: those that its network was not fitted on.

The data that the version was trained from calibrate it with the held-out rows that were kept
with it. Other data count from after the newest row that the network has seen; where rows carry
no time, each row that it has seen is left out by its content. A row takes part once its label
is known; younger ones still say how many alerts there would be, and what the base rate is.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from balancing.calibration.fitting.calibrators import MIN_POSITIVES
from balancing.inference import OnnxModel
from features.contract import Contract
from features.derived import derive
from features.durations import format_duration
from features.feature_set import FeatureArrays
from features.feature_table import with_row_id
from features.ingestion.conforming import conform
from features.ingestion.tables import DataFingerprint, fingerprint, read_table
from features.labels import LABEL, attach_labels
from features.money import to_minor_units
from features.velocity_table import add_velocity, check_history
from flows.kept_rows import (
    CALIBRATION_FILE,
    FITTED_ROWS_FILE,
    TRAINING_SEGMENTS_FILE,
    calibration_frame,
    row_digests,
)
from infra.errors import InputError
from infra.storage import sha256_file
from serving.bundle import BundleManifest, ModelBundle
from serving.model_store import ModelStore
from serving.row_rules import RowRules

_ROWS_AT_ONCE = 1 << 16


class NoCalibrationRows(InputError):
    """Raised when a table holds no rows that may calibrate a model, or too few; says how many."""


@dataclass(frozen=True, slots=True)
class CalibrationRows:
    """Rows that a network was not fitted on, with its logits.

    Attributes:
        frame: ``row_id``, ``label`` (null where it is not known yet), ``amount_minor``,
            ``event_time``, the columns that may segment rows, ``logit_negative``,
            ``logit_positive``.
        fingerprint: SHA-256 of the file that the rows come from.
        origin: Where they come from, as a person reads it.
        are_kept: Whether they are the version's own held-out rows.
        left_out: How many rows of the table take no part, by reason.
    """

    frame: pl.DataFrame
    fingerprint: str
    origin: str
    are_kept: bool
    left_out: dict[str, int]

    @property
    def labelled(self) -> pl.DataFrame:
        """The rows whose label is known."""
        return self.frame.filter(pl.col(LABEL).is_not_null())

    @property
    def unlabelled(self) -> pl.DataFrame:
        """The rows whose label is not known yet."""
        return self.frame.filter(pl.col(LABEL).is_null())


def logits_of(rows: pl.DataFrame) -> NDArray[np.float64]:
    """Return the logits of calibration rows, ``(n, 2)``."""
    return rows.select("logit_negative", "logit_positive").to_numpy().astype(np.float64)


def calibration_rows(
    store: ModelStore,
    bundle: ModelBundle,
    version: str,
    source: str,
    *,
    columns: tuple[str, ...] = (),
    also: tuple[str, ...] = (),
    history: str | None = None,
    as_of: datetime | None = None,
) -> CalibrationRows:
    """Return the rows of a table that may calibrate a model.

    Args:
        store: Where the version and what it kept are.
        bundle: The verified bundle of the version.
        version: The version's number.
        source: Path or URI of the table.
        columns: Columns that thresholds are wanted by.
        also: Further columns to segment the preview by, as far as they are there.
        history: A table of earlier rows, for features over time.
        as_of: The moment whose knowledge of labels counts; default: the newest event time.

    Raises:
        DataError: If the table cannot be read, or does not fit the contract.
        NoCalibrationRows: If none of its rows may calibrate the model.
        BundleMismatch: If the kept rows are not those that the version came with.
    """
    found = fingerprint(source)
    contract, name = bundle.contract, bundle.manifest.name
    if found.sha256 in _trained_from(bundle.manifest):
        return kept_calibration_rows(store, name, version, columns)
    if history is not None and not contract.velocity_features:
        raise NoCalibrationRows(
            "--history is for contracts with features over time; "
            f"{contract.name!r} declares none. Leave it out."
        )
    seen = _Seen(
        f"{name}:{version}",
        bundle.manifest.fitted_until,
        store.kept(name, version, FITTED_ROWS_FILE),
    )
    if seen.until is None and seen.digests is None:
        raise NoCalibrationRows(
            f"Nobody can tell which rows of {found.name} the network of {seen.version} was fitted "
            "on: it was released before that was recorded. Train again; rows that a network has "
            "seen must not calibrate it."
        )
    past = None if history is None else read_table(history)
    wanted = tuple(dict.fromkeys((*columns, *also)))
    return _new_rows(read_table(source), bundle, seen, wanted, found, history=past, as_of=as_of)


def require_positives(rows: CalibrationRows, contract: Contract, *, purpose: str) -> None:
    """Refuse rows that are too few to fit anything on.

    Raises:
        NoCalibrationRows: With how many positives there are, how many are needed, and for what.
    """
    label = rows.labelled[LABEL]
    n_positives = int(label.sum())
    if n_positives >= MIN_POSITIVES:
        return
    left_out = ", ".join(f"{count:,} {why}" for why, count in rows.left_out.items() if count)
    delay = contract.label.delay
    wait = f" A label takes {format_duration(delay)} to be known." if delay else ""
    raise NoCalibrationRows(
        f"{purpose} need at least {MIN_POSITIVES} positives; among {rows.origin} there are "
        f"{n_positives} of {len(label):,} labelled rows"
        + (f" (left out: {left_out})" if left_out else "")
        + f".{wait} Bring newer labelled rows, or the data that the model was trained from: its "
        "held-out rows were kept."
    )


def training_segments(store: ModelStore, name: str, version: str) -> pl.DataFrame | None:
    """Return how many training rows of each class have which values; None where none were kept."""
    path = store.kept(name, version, TRAINING_SEGMENTS_FILE)
    return None if path is None else pl.read_parquet(path)


def _trained_from(manifest: BundleManifest) -> set[str]:
    return {data["sha256"] for data in manifest.data if data.get("role", "data") == "data"}


def kept_calibration_rows(
    store: ModelStore, name: str, version: str, columns: tuple[str, ...] = ()
) -> CalibrationRows:
    """Return the held-out rows that were kept with a version.

    Raises:
        NoCalibrationRows: If none were kept, or without one of the columns.
        BundleMismatch: If they are not those that the version came with.
    """
    path = store.kept(name, version, CALIBRATION_FILE)
    if path is None:
        raise NoCalibrationRows(
            f"{name}:{version} was released before held-out rows were kept with "
            "a version, so the data that it was trained from cannot calibrate it. Bring newer "
            "rows, or train again."
        )
    frame = pl.read_parquet(path)
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise NoCalibrationRows(
            f"The held-out rows kept with {name}:{version} have no column "
            f"{missing[0]!r} to segment by. Segment by a categorical or derived column that is "
            "not under columns.pii, or bring newer rows."
        )
    return CalibrationRows(
        frame=frame,
        fingerprint=sha256_file(path),
        origin=f"the rows held out when {name}:{version} was trained",
        are_kept=True,
        left_out={},
    )


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a version's network has seen: until when, or which rows.

    Attributes:
        version: The version's name for a person.
        until: Newest event time that it has seen; None where rows carry no time.
        digests: File of the digests of the rows that it has seen, where they carry no time.
    """

    version: str
    until: datetime | None
    digests: Path | None


def _new_rows(
    table: pl.DataFrame,
    bundle: ModelBundle,
    seen: _Seen,
    columns: tuple[str, ...],
    found: DataFingerprint,
    *,
    history: pl.DataFrame | None,
    as_of: datetime | None,
) -> CalibrationRows:
    contract, left_out = bundle.contract, dict[str, int]()
    rows = with_row_id(conform(_wanted(table, contract), contract), contract)
    rows = _with_velocity(_labelled(rows, contract, as_of), contract, history)
    if LABEL not in rows.columns:
        rows = rows.with_columns(pl.lit(None, dtype=pl.Int8).alias(LABEL))
    time = pl.col(contract.event_time_column or "")
    if as_of is not None and contract.event_time_column is not None:
        rows = rows.filter((time <= as_of).fill_null(value=False))
    if seen.until is not None:
        newer = rows.filter((time > seen.until).fill_null(value=False))
        left_out["no newer than the training"] = rows.height - newer.height
        rows = newer
    _require_rows(rows, seen, found.name)
    rows = derive(rows, contract) if contract.derived else rows
    arrays = bundle.feature_set.encode(rows)
    is_usable = _passes_row_rules(rows, arrays, contract)
    left_out["breaking a row rule"] = int((~is_usable).sum())
    if seen.digests is not None:
        is_known = _is_among(arrays, seen.digests)
        left_out["seen in training"] = int((is_known & is_usable).sum())
        is_usable &= ~is_known
    rows = rows.filter(is_usable)
    _require_rows(rows, seen, found.name)
    usable = FeatureArrays(arrays.numeric[is_usable], arrays.categorical[is_usable])
    frame = _as_kept(rows, contract, columns, _logits(usable, bundle))
    left_out["without a known label"] = frame[LABEL].null_count()
    return CalibrationRows(
        frame=frame,
        fingerprint=found.sha256,
        origin=_origin(found.name, seen.until),
        are_kept=False,
        left_out=left_out,
    )


def _with_velocity(
    rows: pl.DataFrame, contract: Contract, history: pl.DataFrame | None
) -> pl.DataFrame:
    """Return the rows with features over time: a table is its own past, older tables add to it."""
    if not contract.velocity_features:
        return rows
    past = None if history is None else conform(_wanted(history, contract), contract)
    time = pl.col(contract.event_time_column or "")
    times = [table.select(time) for table in (past, rows) if table is not None]
    check_history(pl.concat(times), contract)
    return add_velocity(rows, contract, history=past)


def _wanted(frame: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    wanted = {*contract.request_columns, contract.label.column, contract.label.reported_at}
    if contract.label.key is not None:
        wanted.add(contract.label.key)
    return frame.select(name for name in frame.columns if name in wanted)


def _labelled(frame: pl.DataFrame, contract: Contract, as_of: datetime | None) -> pl.DataFrame:
    """Return the rows with the labels known by then; as they are where the table has no label."""
    own = contract.label.column
    is_unlabelled = contract.label.source is None and (
        own not in frame.columns or frame[own].null_count() == frame.height
    )
    if is_unlabelled:
        return frame.drop(own, strict=False)
    return attach_labels(frame, contract, as_of=as_of, both_classes=False).frame


def _passes_row_rules(
    rows: pl.DataFrame, arrays: FeatureArrays, contract: Contract
) -> NDArray[np.bool_]:
    """Return the rows that training would not have put into quarantine."""
    is_broken = [np.isinf(arrays.numeric).any(axis=1), *RowRules(contract).broken(rows).values()]
    passes: NDArray[np.bool_] = ~np.any(is_broken, axis=0)
    return passes


def _logits(arrays: FeatureArrays, bundle: ModelBundle) -> NDArray[np.float32]:
    """Return the logits of the graph that is served, a bounded number of rows at a time."""
    model = OnnxModel(bundle.model, threads=2)
    parts = [
        model.logits(
            arrays.numeric[at : at + _ROWS_AT_ONCE], arrays.categorical[at:][:_ROWS_AT_ONCE]
        )
        for at in range(0, len(arrays.numeric), _ROWS_AT_ONCE)
    ]
    return np.concatenate(parts)


def _is_among(arrays: FeatureArrays, seen: Path) -> NDArray[np.bool_]:
    digests = row_digests(arrays.numeric, arrays.categorical)
    return np.isin(digests, pl.read_parquet(seen)["digest"].to_numpy())


def _as_kept(
    rows: pl.DataFrame,
    contract: Contract,
    columns: tuple[str, ...],
    logits: NDArray[np.float32],
) -> pl.DataFrame:
    amount, time = contract.columns.amount, contract.event_time_column
    minor = to_minor_units(rows[amount.column], amount.currency) if amount else pl.lit(None)
    featurized = rows.with_columns(
        minor.cast(pl.Int64).alias("amount_minor"),
        event_time=(pl.col(time) if time else pl.lit(None)).cast(pl.Datetime("us", "UTC")),
    )
    return calibration_frame(featurized, contract, list(columns), logits)


def _require_rows(rows: pl.DataFrame, seen: _Seen, name: str) -> None:
    if rows.height:
        return
    why = (
        f"the newest that it was fitted on is of {seen.until:%Y-%m-%d %H:%M:%S}"
        if seen.until is not None
        else "each was seen in training or breaks a row rule"
    )
    raise NoCalibrationRows(
        f"No row of {name} may calibrate {seen.version}: {why}, and rows that a network has seen "
        "must not calibrate it. Bring newer rows, or the data that it was trained from: its "
        "held-out rows were kept."
    )


def _origin(name: str, cut_off: datetime | None) -> str:
    if cut_off is None:
        return f"the rows of {name} that the network has not seen"
    return f"the rows of {name} after {cut_off:%Y-%m-%d %H:%M:%S}"

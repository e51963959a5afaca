"""Rows of a table that a network has not seen: newer ones, or, without time, others."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from balancing.inference import OnnxModel
from features.contract import Contract
from features.derived import derive
from features.feature_set import FeatureArrays
from features.feature_table import with_row_id
from features.ingestion.conforming import conform
from features.ingestion.tables import DataFingerprint
from features.labels import LABEL, attach_labels
from features.money import to_minor_units
from features.served_table import ServedTable
from features.velocity_table import add_velocity, check_history
from flows.calibration_rows import CalibrationRows, NoCalibrationRows
from flows.kept_rows import calibration_frame, row_digests
from serving.bundle import ModelBundle
from serving.row_rules import RowRules

_ROWS_AT_ONCE = 1 << 16


@dataclass(frozen=True, slots=True)
class Seen:
    """What a version's network has seen: until when, or which rows.

    Attributes:
        version: The version's name for a person.
        until: Newest event time that it has seen; None where rows carry no time.
        digests: File of the digests of the rows that it has seen, where they carry no time.
    """

    version: str
    until: datetime | None
    digests: Path | None


def newer_rows(
    table: pl.DataFrame,
    bundle: ModelBundle,
    seen: Seen,
    columns: tuple[str, ...],
    found: DataFingerprint,
    *,
    history: pl.DataFrame | None,
    as_of: datetime | None,
    served: ServedTable | None = None,
) -> CalibrationRows:
    """Return the rows of a table that a version's network has not seen, with its logits.

    Args:
        table: As read.
        bundle: The verified bundle of the version.
        seen: What its network has seen.
        columns: Columns to keep beside the logits, that rows may be segmented by.
        found: What identifies the table.
        history: Earlier rows, for features over time.
        as_of: The moment whose knowledge of labels counts; default: the newest event time, or the
            moment that a table of served rows was built for.
        served: What the table says of itself, where its rows were served.

    Raises:
        DataError: If the table does not fit the contract.
        NoCalibrationRows: If the network has seen every row.
    """
    contract, left_out = bundle.contract, dict[str, int]()
    further = () if served is None else (*served.served, *served.label)
    rows = with_row_id(conform(_wanted(table, contract, further), contract), contract)
    if served is None:
        rows = _with_velocity(_labelled(rows, contract, as_of), contract, history)
    else:
        as_of = as_of or served.as_of
        rows = _labelled(rows, contract, as_of, served)
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
    judging = contract if served is None else served.judged(contract)
    is_usable = _passes_row_rules(rows, arrays, judging)
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


def _wanted(frame: pl.DataFrame, contract: Contract, further: tuple[str, ...] = ()) -> pl.DataFrame:
    label = contract.label
    wanted = {*contract.request_columns, label.column, label.reported_at, *further}
    if contract.label.key is not None:
        wanted.add(contract.label.key)
    return frame.select(name for name in frame.columns if name in wanted)


def _labelled(
    frame: pl.DataFrame,
    contract: Contract,
    as_of: datetime | None,
    served: ServedTable | None = None,
) -> pl.DataFrame:
    """Return the rows with the labels known by then; as they are where the table has no label."""
    own = contract.label.column
    is_unlabelled = contract.label.source is None and (
        own not in frame.columns or frame[own].null_count() == frame.height
    )
    if is_unlabelled:
        return frame.drop(own, strict=False)
    own_labels = None if served is None else served.labels(frame.lazy(), contract)
    labels = None if own_labels is None else own_labels.collect()
    return attach_labels(frame, contract, as_of=as_of, labels=labels, both_classes=False).frame


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


def _require_rows(rows: pl.DataFrame, seen: Seen, name: str) -> None:
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

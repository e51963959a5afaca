"""Rows that may calibrate a model, as policies are fitted on them; those kept with a version."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from balancing.calibration.fitting.calibrators import MIN_POSITIVES
from features.contract import Contract
from features.durations import format_duration
from features.labels import LABEL
from flows.kept_rows import CALIBRATION_FILE, TRAINING_SEGMENTS_FILE
from infra.errors import InputError
from infra.storage import sha256_file
from serving.model_store import ModelStore


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


def training_segments(store: ModelStore, name: str, version: str) -> pl.DataFrame | None:
    """Return how many training rows of each class have which values; None where none were kept."""
    path = store.kept(name, version, TRAINING_SEGMENTS_FILE)
    return None if path is None else pl.read_parquet(path)

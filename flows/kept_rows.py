"""What is kept with a version so that a later policy can be made for it without its data.

``calibration.parquet``: rows that no network behind their logits was fitted on, with label,
amount, time and every column that may segment them. ``training_segments.parquet``: how many
training rows of each class have which values in these columns. ``fitted_rows.parquet``, where
rows carry no time: what tells the rows that the network was fitted on from others.
``reference.parquet``: features of some held-out rows, that monitoring holds later rows against.
"""

from hashlib import blake2b
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.contract import Contract
from features.feature_set import FeatureArrays, FeatureSet
from infra.storage import write_atomically
from serving.decisions.personal_features import personal_features

CALIBRATION_FILE = "calibration.parquet"
TRAINING_SEGMENTS_FILE = "training_segments.parquet"
FITTED_ROWS_FILE = "fitted_rows.parquet"
REFERENCE_FILE = "reference.parquet"

MOST_SEGMENT_VALUES = 200
"""A derived column with more values than this in training is a quantity, not a segment."""

MOST_REFERENCE_ROWS = 10_000
"""Enough to tell distributions apart; drawn at random from the held-out rows."""

COUNT_COLUMNS = ("negatives", "positives")
"""Of the training segments, beside the columns themselves."""

_ALWAYS = ("row_id", "label", "amount_minor", "event_time")


def segment_columns(table: pl.DataFrame, contract: Contract) -> list[str]:
    """Return the features that may segment rows: categories, and derived columns of few values.

    Columns under ``columns.pii`` are left out: what is kept here is kept in clear.
    """
    few = [
        name
        for name in contract.derived
        if name in contract.policy.segments or table[name].n_unique() <= MOST_SEGMENT_VALUES
    ]
    return [
        name for name in (*contract.categorical_features, *few) if name not in contract.columns.pii
    ]


def calibration_frame(
    rows: pl.DataFrame, contract: Contract, columns: list[str], logits: NDArray[np.float32]
) -> pl.DataFrame:
    """Return rows of a feature table as they are kept: without features, with logits.

    Shape:
        ``n`` rows and ``(n, 2)`` logits.
    """
    kept = rows.select(*_ALWAYS, *columns).with_columns(
        logit_negative=pl.Series(logits[:, 0]), logit_positive=pl.Series(logits[:, 1])
    )
    if contract.columns.id in contract.columns.pii:
        kept = kept.with_columns(row_id=pl.int_range(pl.len()).cast(pl.String))
    return kept


def write_calibration(path: Path, frame: pl.DataFrame) -> None:
    """Write the kept rows of a run."""
    with write_atomically(path) as staging:
        frame.write_parquet(staging)


def write_training_segments(path: Path, training: pl.DataFrame, columns: list[str]) -> None:
    """Write how many negatives and positives each combination of values has."""
    is_positive = pl.col("label") == 1
    numbers = ((~is_positive).sum(), is_positive.sum())
    counts = [number.alias(name) for number, name in zip(numbers, COUNT_COLUMNS, strict=True)]
    grouped = (
        training.group_by(columns, maintain_order=True).agg(counts)
        if columns
        else training.select(counts)
    )
    with write_atomically(path) as staging:
        grouped.write_parquet(staging)


def write_fitted_rows(path: Path, digests: NDArray[np.uint64]) -> None:
    """Write the digests of the rows that a network was fitted on."""
    with write_atomically(path) as staging:
        pl.DataFrame({"digest": np.unique(digests)}).write_parquet(staging)


def write_reference(path: Path, rows: FeatureArrays, feature_set: FeatureSet) -> None:
    """Write features by name, of up to 10,000 rows; categories as codes, nothing personal."""
    n_rows = len(rows.numeric)
    chosen = np.arange(n_rows)
    if n_rows > MOST_REFERENCE_ROWS:
        drawn = np.random.default_rng(0).choice(n_rows, MOST_REFERENCE_ROWS, replace=False)
        chosen = np.sort(drawn)
    personal = personal_features(feature_set.contract)
    columns = {name: rows.numeric[chosen, at] for at, name in enumerate(feature_set.numeric)}
    columns |= {
        name: rows.categorical[chosen, at] for at, name in enumerate(feature_set.categorical)
    }
    with write_atomically(path) as staging:
        pl.DataFrame({n: c for n, c in columns.items() if n not in personal}).write_parquet(staging)


def read_reference(path: Path, feature_set: FeatureSet) -> FeatureArrays:
    """Return the rows that :func:`write_reference` wrote; personal features are missing."""
    frame = pl.read_parquet(path)
    numeric = [
        frame[name].to_numpy() if name in frame.columns else np.full(frame.height, np.nan)
        for name in feature_set.numeric
    ]
    categorical = [
        frame[name].to_numpy() if name in frame.columns else np.zeros(frame.height, dtype=np.int64)
        for name in feature_set.categorical
    ]
    return FeatureArrays(
        np.array(numeric, dtype=np.float32).reshape(len(numeric), frame.height).T,
        np.array(categorical, dtype=np.int64).reshape(len(categorical), frame.height).T,
    )


def row_digests(numeric: NDArray[np.float32], categorical: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return 64 bits for each row's features: the same for rows that a network cannot tell apart.

    Shape:
        ``(n, n_numeric)`` and ``(n, n_categorical)`` -> ``(n,)``.
    """
    # Missing numbers and the two zeros have several spellings in bits.
    numbers = np.where(np.isnan(numeric), np.float32(np.nan), numeric + np.float32(0))
    rows = zip(numbers, np.ascontiguousarray(categorical), strict=True)
    digests = (
        blake2b(number.tobytes() + category.tobytes(), digest_size=8).digest()
        for number, category in rows
    )
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)

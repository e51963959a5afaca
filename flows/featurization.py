"""Featurization: validated rows to a feature table, kept under its content address."""

import json
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from features.contract import Contract
from features.feature_set import FeatureSet
from features.feature_table import build_feature_table, feature_table_key
from features.large_feature_table import is_large, write_large_feature_table
from features.served_table import ServedTable, description_of
from features.splits import PARTS
from infra.storage import immutable_folder, sha256_file

logger = logging.getLogger(__name__)

TABLE_FILE = "table.parquet"
FEATURE_SET_FILE = "feature_set.json"
_COUNTS = "counts.json"


def featurize(
    passed: Path,
    contract: Contract,
    *,
    input_types: Mapping[str, str],
    fingerprints: Sequence[str],
    root: Path,
    as_of: datetime | None = None,
    since: datetime | None = None,
    labels: pl.DataFrame | None = None,
    test_passed: Path | None = None,
) -> Path:
    """Return the folder of the feature table; the same data, contract and code compute once.

    Args:
        passed: Rows that passed validation.
        contract: Resolved against the table.
        input_types: What a request must hold for each column.
        fingerprints: SHA-256 of every file that the rows and labels came from.
        root: Folder that holds feature tables.
        as_of: The moment whose knowledge counts; default: the newest event time, or the moment
            that a table of served rows was built for.
        since: Rows before it are the others' past and stand in no part; default: there are none.
        labels: Labels from another table, where the contract says so.
        test_passed: Rows of a separate test file; then every other row is for fitting.

    Rows that were served (:mod:`features.served_table`) keep their features over time. Files too
    large for memory take the way through the disk, to the same table.
    """
    served = description_of(passed)
    if served is not None:
        as_of = as_of or served.as_of
        labels = labels if labels is not None else _labels_of(served, contract, passed, test_passed)
    # The rows that passed, too: corrected rows come in without a change of the files.
    passed_rows = [sha256_file(path) for path in (passed, test_passed) if path]
    folder = root / feature_table_key(
        [*fingerprints, *passed_rows], contract, as_of, since, has_test=test_passed is None
    )
    if folder.is_dir():
        logger.info("feature table found", extra={"folder": folder.name})
        return folder
    make = _write_large if is_large(passed, contract, test_passed) else _write
    with immutable_folder(folder) as staging:
        feature_set, counts = make(
            staging / TABLE_FILE,
            passed,
            contract,
            test_passed,
            input_types=input_types,
            as_of=as_of,
            since=since,
            labels=labels,
            is_served=served is not None,
        )
        (staging / FEATURE_SET_FILE).write_text(json.dumps(feature_set.to_json()), "utf-8")
        (staging / _COUNTS).write_text(json.dumps(counts), "utf-8")
    return folder


def read_features(folder: Path) -> tuple[pl.DataFrame, FeatureSet]:
    """Return a feature table and the feature set that made it."""
    feature_set = FeatureSet.from_json(json.loads((folder / FEATURE_SET_FILE).read_text("utf-8")))
    return pl.read_parquet(folder / TABLE_FILE), feature_set


def read_counts(folder: Path) -> dict[str, int]:
    """Return how many rows a feature table has, by part and class, and how many were left out."""
    counts: dict[str, int] = json.loads((folder / _COUNTS).read_text("utf-8"))
    return counts


def summary(folder: Path) -> str:
    """Return in one line how many rows each part has."""
    counts = read_counts(folder)
    parts = [
        f"{part} {counts[f'{part}_rows']:,} ({counts[f'{part}_positives']:,})" for part in PARTS
    ]
    left_out = sum(counts[f"{why}_rows"] for why in ("gap", "immature", "unlabelled"))
    shown = f"; {left_out:,} left out: in a gap or without a label yet" if left_out else ""
    return f"rows (positive) in {', '.join(parts)}{shown}"


def _labels_of(
    served: ServedTable, contract: Contract, passed: Path, test_passed: Path | None
) -> pl.DataFrame | None:
    """Return what stands for another table of labels: each row brings its own."""
    parts = [
        served.labels(pl.scan_parquet(path), contract) for path in (passed, test_passed) if path
    ]
    known = [part for part in parts if part is not None]
    return pl.concat(known).collect() if known else None


def _write(
    out: Path, passed: Path, contract: Contract, test_passed: Path | None, **how: Any
) -> tuple[FeatureSet, dict[str, int]]:
    test = pl.read_parquet(test_passed) if test_passed else None
    table = build_feature_table(pl.read_parquet(passed), contract, test=test, **how)
    table.frame.write_parquet(out)
    return table.feature_set, table.counts


def _write_large(
    out: Path, passed: Path, contract: Contract, test_passed: Path | None, **how: Any
) -> tuple[FeatureSet, dict[str, int]]:
    # Beside the table and out of its folder: whatever is in there becomes part of it.
    scratch = out.parent.parent
    table = write_large_feature_table(
        passed, contract, out, scratch=scratch, test_passed=test_passed, **how
    )
    return table.feature_set, table.counts

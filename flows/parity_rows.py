"""The rows that a release is tried on: golden rows, and those that go through the parity gates."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from balancing.inference import OnnxModel
from features.feature_set import FeatureSet
from features.feature_table import with_row_id
from features.labels import reported_labels
from features.served_table import ServedTable, description_of
from features.splits import TEST as TEST_PART
from flows.run_folder import RunFolder
from flows.validation import DATA, TEST
from serving.golden import GoldenRows
from serving.prepared_rows import velocity_of
from serving.requests import is_sendable, request_rows
from serving.velocity_parity import VelocityParity, compare_served, replay_velocity

_N_GOLDEN = 64
_FROM_TEST = "__from_test"


def parity_rows(
    run: RunFolder, table: pl.DataFrame, feature_set: FeatureSet
) -> tuple[pl.DataFrame, NDArray[np.float32]]:
    """Return the rows whose logits were kept at training, and those logits.

    Args:
        run: Of the training.
        table: Its feature table.
        feature_set: Fitted.

    Returns:
        Conformed rows with their features over time as columns, and ``(n, 2)`` logits.
    """
    contract = feature_set.contract
    kept = pl.read_parquet(run.trained_logits)
    passed = run.passed_of(DATA)
    rows = with_row_id(pl.read_parquet(passed), contract)
    rows = rows.drop(contract.velocity_features, strict=False)
    found = kept.select("row_id").join(rows, on="row_id", how="left", maintain_order="left")
    over_time = table.select("row_id", *contract.velocity_features).unique("row_id", keep="first")
    found = found.join(over_time, on="row_id", how="left", maintain_order="left")
    logits = kept.select("logit_negative", "logit_positive").to_numpy().astype(np.float32)
    found = found.drop("row_id")
    served = description_of(passed)
    return found if served is None else _with_stand_ins(found, served), logits


def golden_rows(run: RunFolder, feature_set: FeatureSet, sample: pl.DataFrame) -> GoldenRows:
    """Return some of the parity rows as requests, with all that must come out of them."""
    contract = feature_set.contract
    sendable = sample.filter(is_sendable(sample, contract, feature_set.input_types))
    rows = sendable.gather_every(max(1, sendable.height // _N_GOLDEN))
    arrays = feature_set.transform(rows)
    return GoldenRows.build(
        request_rows(rows, contract, feature_set.input_types),
        numeric=arrays.numeric,
        categorical=arrays.categorical,
        logits=OnnxModel(run.onnx).logits(arrays.numeric, arrays.categorical),
        velocity=velocity_of(rows, contract),
    )


def velocity_parity(
    run: RunFolder, table: pl.DataFrame, feature_set: FeatureSet
) -> VelocityParity | None:
    """Replay rows of the run through an online state; None where no feature looks back in time.

    Rows that were served are not replayed: much of their entities' past is not among them. Their
    features over time have to be those that were served.

    Args:
        run: Of the training.
        table: Its feature table, which must say the same as the replay.
        feature_set: Fitted.
    """
    contract = feature_set.contract
    if not contract.velocity_features:
        return None
    if description_of(run.passed_of(DATA)) is not None:
        return compare_served(contract, _served(run, feature_set), table)
    history = _history(run, feature_set)
    has_test = run.passed_of(TEST).is_file()
    expected = table.with_columns(
        (pl.col("part") == TEST_PART).fill_null(value=False).alias(_FROM_TEST)
        if has_test
        else pl.lit(value=False).alias(_FROM_TEST)
    )
    # Of two rows under one id nobody can say which is which.
    keys = ["row_id", _FROM_TEST]
    expected = expected.select(*keys, *contract.velocity_features).unique(keys, keep="none")
    joined = history.select(keys).join(
        expected.with_columns(is_known=pl.lit(value=True)),
        on=keys,
        how="left",
        maintain_order="left",
    )
    is_known = pl.col("is_known").fill_null(value=False)
    is_single = pl.struct(keys).is_unique()
    return replay_velocity(contract, history, joined.with_columns(is_known & is_single))


def _with_stand_ins(rows: pl.DataFrame, served: ServedTable) -> pl.DataFrame:
    """Return rows that clients could send: numbers for pseudonyms where ids are whole numbers."""
    numbered = [name for name in served.hidden if served.input_types.get(name) == "integer"]
    return rows.with_columns(pl.col(numbered).rank("dense").cast(pl.Int64).cast(pl.String))


def _served(run: RunFolder, feature_set: FeatureSet) -> pl.DataFrame:
    """Return every row of the run as it passed validation."""
    contract = feature_set.contract
    files = [run.passed_of(role) for role in (DATA, TEST) if run.passed_of(role).is_file()]
    return pl.concat([with_row_id(pl.read_parquet(file), contract) for file in files])


def _history(run: RunFolder, feature_set: FeatureSet) -> pl.DataFrame:
    """Return every row of the run, with its label as it was reported."""
    contract = feature_set.contract
    parts = [
        with_row_id(pl.read_parquet(run.passed_of(role)), contract).with_columns(
            pl.lit(role == TEST).alias(_FROM_TEST)
        )
        for role in (DATA, TEST)
        if run.passed_of(role).is_file()
    ]
    return reported_labels(pl.concat(parts, how="diagonal_relaxed"), contract)

"""Recalibration where rows carry no time: those that a network has seen are known by content."""

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from features.ingestion.conforming import conform
from flows.kept_rows import FITTED_ROWS_FILE, row_digests
from serving.model_store import ModelStore

pytestmark = pytest.mark.xdist_group("timeless")

CONTRACT = """
name = "timeless"
[columns]
id = "TRANSACTION_ID"
amount = {column = "TX_AMOUNT", currency = "EUR"}
categorical = ["MERCHANT_CATEGORY"]
[label]
column = "TX_FRAUD"
[expectations]
TX_AMOUNT = {min = 0}
[split]
by = "random"
[policy]
review = {objective = "max_fpr", max_fpr = 0.05}
"""


@pytest.fixture(scope="module")
def table(frame) -> pl.DataFrame:
    """4,000 rows to train on."""
    return frame.select("TRANSACTION_ID", "TX_AMOUNT", "MERCHANT_CATEGORY", "TX_FRAUD").head(4_000)


@pytest.fixture(scope="module")
def home(train, table, tmp_path_factory) -> Path:
    """A state folder with a model of these rows."""
    folder = tmp_path_factory.mktemp("timeless")
    (folder / "contract.toml").write_text(CONTRACT)
    table.write_parquet(folder / "data.parquet")
    done = train(folder / "home", folder / "data.parquet", contract=folder / "contract.toml")
    assert done.code == 0, done.err
    return folder / "home"


@pytest.fixture
def recalibrate(whitecrow, home, tmp_path):
    """Recalibrates a copy of the state folder on a table."""
    copy = shutil.copytree(home, tmp_path / "home")

    def run(data: pl.DataFrame, *more):
        data.write_parquet(tmp_path / "rows.parquet")
        return whitecrow(
            copy, "recalibrate", "timeless", tmp_path / "rows.parquet", "--reason", "x", "--json",
            *more,
        )  # fmt: skip

    return run


@pytest.fixture(scope="module")
def unseen(frame, table) -> pl.DataFrame:
    """4,000 rows of later days, each with an amount that no earlier row has."""
    later = frame.slice(4_000, 4_000).select(table.columns)
    return later.with_columns(pl.col("TX_AMOUNT") + 0.001)


def test_rows_that_the_network_has_seen_are_left_out(recalibrate, table, unseen) -> None:
    done = recalibrate(pl.concat([table, unseen]))

    assert done.code == 0, done.err
    calibration = done.json["calibration"]
    n_seen = calibration["left_out"]["seen in training"]
    assert calibration["rows"] + n_seen == 8_000
    assert 0.7 * 4_000 <= n_seen < 4_000  # train and validation are seven of ten
    assert done.json["impact"]["new"]["alerts_per_day"] is None


def test_rows_that_were_all_seen_are_refused(recalibrate, home, table) -> None:
    bundle = ModelStore(home).bundle("timeless", "1")
    arrays = bundle.feature_set.transform(conform(table, bundle.contract))
    seen = pl.read_parquet(home / "calibration" / "timeless" / "1" / FITTED_ROWS_FILE)["digest"]
    is_seen = np.isin(row_digests(arrays.numeric, arrays.categorical), seen.to_numpy())

    done = recalibrate(table.filter(is_seen))

    assert done.code == 2
    assert "each was seen in training or breaks a row rule" in done.error


def test_rows_that_break_a_rule_are_left_out(recalibrate, unseen) -> None:
    spoilt = pl.when(pl.int_range(pl.len()) < 7).then(-1.0).otherwise("TX_AMOUNT")

    done = recalibrate(unseen.with_columns(TX_AMOUNT=spoilt))

    assert done.json["calibration"]["left_out"]["breaking a row rule"] == 7


def test_one_constant_score(recalibrate, unseen) -> None:
    same = unseen.with_columns(TX_AMOUNT=pl.lit(12.3456), MERCHANT_CATEGORY=pl.lit("grocery"))

    done = recalibrate(same)

    assert done.code == 2
    assert "gives all 4000 calibration rows the same logit" in done.error


def test_history_for_a_contract_without_features_over_time(recalibrate, unseen, stream) -> None:
    done = recalibrate(unseen, "--history", stream)

    assert done.code == 2
    assert done.error.startswith("--history is for contracts with features over time")


def test_an_alert_budget_without_time_or_traffic(recalibrate, unseen, tmp_path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text('review = {objective = "alert_budget", alerts_per_day = 5}')

    done = recalibrate(unseen, "--policy", policy)

    assert done.code == 2
    assert "needs the length of the period" in done.error

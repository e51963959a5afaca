"""A table is scored by the live version and held against the rows kept from its training."""

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from flows.kept_rows import REFERENCE_FILE
from flows.monitoring.config import MonitorConfig, MonitorConfigError
from flows.monitoring.gathering import gather
from flows.monitoring.report import MonitorReport
from flows.monitoring.request import MonitorRequest
from flows.monitoring.run import report_on
from flows.monitoring.table_rows import WindowUnusable
from infra.settings import Settings
from infra.storage import canonical_json

Look = Callable[..., MonitorReport]


@pytest.fixture
def look(trained: Any, tmp_path: Path) -> Look:
    """Looks at a table without writing anything down."""

    def run(rows: pl.DataFrame, **values: Any) -> MonitorReport:
        path = tmp_path / "rows.parquet"
        rows.write_parquet(path)
        config = MonitorConfig(**values.pop("config", {}))
        request = MonitorRequest(name="stream", data=str(path), **values)
        return report_on(gather(trained.settings, request, config), config, tmp_path)

    return run


@pytest.fixture
def late(frame: pl.DataFrame) -> datetime:
    """The moment from which the newest third of the stream happened."""
    moment = frame.sort("TX_DATETIME")["TX_DATETIME"][-6_000]
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def test_rows_kept_from_training_are_what_a_table_is_held_against(trained, look, frame, late):
    report = look(frame, since=late)

    kept = pl.read_parquet(trained.home / "calibration" / "stream" / "1" / REFERENCE_FILE)
    assert report.reference_rows == kept.height > 500
    assert report.reference == f"the {kept.height:,} rows held out when stream:1 was trained"
    assert [each.column for each in report.columns] == kept.columns
    assert report.rows == 6_000
    assert report.scores is not None
    assert report.scores.stability_index < 0.25
    assert report.volume.expected_says == "the policy's budget"


def test_labels_of_a_table_cover_its_declines(look, frame, late) -> None:
    report = look(frame, since=late)

    coverage = report.monitored.coverage
    assert coverage.labelled == coverage.mature < coverage.rows
    assert coverage.labelled_declines == coverage.mature_declines
    assert report.monitored.judged is report.monitored.realised is not None
    assert report.monitored.calibration is not None


def test_a_shifted_amount_is_found_in_a_table(look, frame, late) -> None:
    is_late = pl.col("TX_DATETIME").cast(pl.Datetime("us", "UTC")) >= late
    shifted = frame.with_columns(
        pl.when(is_late).then(pl.col("TX_AMOUNT") * 3).otherwise(pl.col("TX_AMOUNT"))
    )

    found = {(each.metric, each.about): each.action for each in look(shifted, since=late).findings}

    assert found["column_drift", "TX_AMOUNT"] == "retrain"


def test_a_table_without_a_label_is_looked_at_all_the_same(look, frame, late) -> None:
    report = look(frame.drop("TX_FRAUD"), since=late)

    assert report.monitored.coverage.labelled == 0
    assert report.monitored.realised is None
    assert report.monitored.estimated is not None


def test_a_table_that_begins_too_late_for_its_features_says_so(look, frame, late) -> None:
    report = look(frame.sort("TX_DATETIME").tail(3_000))

    (caution,) = [each for each in report.cautions if "look back" in each]
    assert "begins only 0 days before the rows compared" in caution
    assert not any("look back" in each for each in look(frame, since=late).cautions)


def test_days_before_the_window_may_be_the_reference(look, frame, late) -> None:
    report = look(frame, since=late, config={"reference": {"days": 20}})

    assert report.reference == "the 20 days before the window"
    assert report.spans is not None
    assert report.spans.reference_since == late - timedelta(days=20)
    assert report.reference_rows > 500


def test_a_segment_that_is_none_is_refused(look, frame) -> None:
    with pytest.raises(MonitorConfigError, match="segments: 'NOWHERE' is no feature of stream:1"):
        look(frame, config={"segments": ("NOWHERE",)})


def test_an_empty_window_is_refused(look, frame, late) -> None:
    with pytest.raises(WindowUnusable, match="Give --from before --to"):
        look(frame, since=late, until=late - timedelta(days=1))


def test_without_kept_features_the_page_says_so(trained, frame, late, tmp_path) -> None:
    """A version that was released before they were kept has no such file in its manifest."""
    home = tmp_path / "home"
    shutil.copytree(trained.home, home, ignore=shutil.ignore_patterns("runs", "features", "ml*"))
    folder = home / "models" / "stream" / "1"
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["kept_files"][REFERENCE_FILE]
    shutil.rmtree(home / "keys")
    content = (canonical_json(manifest) + "\n").encode()
    (folder / "manifest.json").write_bytes(content)
    (folder / "bundle.sha256").write_text(f"{sha256(content).hexdigest()}  manifest.json\n")
    path = tmp_path / "rows.parquet"
    frame.write_parquet(path)
    settings = Settings(home=home)

    request = MonitorRequest(name="stream", data=str(path), since=late)
    report = report_on(gather(settings, request, MonitorConfig()), MonitorConfig(), tmp_path)

    assert report.columns == ()
    assert "released before held-out features were kept" in " ".join(report.cautions)

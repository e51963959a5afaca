"""A finding that calls for a retraining starts the scheduled one, and not every day anew."""

import shutil
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from flows.scheduling.book import RunState, ScheduleBook
from flows.scheduling.deployments import Deployments, moment_of
from flows.scheduling.schedule import Kind
from flows.scheduling.server import ensure_server
from flows.scheduling.work import monitor, start_retraining
from infra.settings import Settings

pytestmark = [pytest.mark.xdist_group("scheduling"), pytest.mark.slow]

MOMENT = datetime(2025, 6, 1, 12, 30, tzinfo=UTC)


@pytest.fixture
def name() -> str:
    """A model of the test's own: the server is shared."""
    return f"m{uuid.uuid4().hex[:8]}"


def test_a_retraining_that_is_not_scheduled_is_not_started(served, make, name) -> None:
    monitoring = make(name=name, kind=Kind.MONITOR)

    assert start_retraining(served, monitoring, MOMENT) == "called for, but none is scheduled"


def test_the_scheduled_retraining_is_started_as_of_the_monitoring(served, make, name) -> None:
    retraining = make(name=name)
    ScheduleBook(served.database).put(retraining)

    told = start_retraining(served, make(name=name, kind=Kind.MONITOR), MOMENT)

    assert told == "started"
    with Deployments.at(ensure_server(served)) as deployments:
        copy = deployments.find(retraining.key)
        assert copy is not None
        (run,) = deployments.due_runs(copy.id)
    assert moment_of(retraining, run) == MOMENT


@pytest.mark.parametrize(("days", "told"), [(6, "called for, but there was one"), (8, "started")])
def test_a_retraining_shortly_before_is_enough(served, make, name, days, told) -> None:
    retraining, book = make(name=name), ScheduleBook(served.database)
    book.put(retraining)
    book.end(retraining.key, MOMENT - timedelta(days=days), RunState.DONE)

    monitoring = make(name=name, kind=Kind.MONITOR, rest="7d")

    assert start_retraining(served, monitoring, MOMENT).startswith(told)


ONLY_PERFORMANCE = """
min_rows = 200
[limits]
average_precision = {retrain = 0.5}
column_drift = {}
missing_rise = {}
unseen_rise = {}
score_drift = {}
precision = {}
recall = {}
calibration_slope = {}
"""


@pytest.fixture
def look(served, trained, make, tmp_path, monkeypatch) -> Callable[[pl.Expr], str]:
    """Looks at the stream with other frauds; returns what became of its scheduled retraining."""
    monkeypatch.setenv("PREFECT_API_URL", ensure_server(served))
    settings = Settings(home=shutil.copytree(trained.home, tmp_path / "home"))
    table, limits = tmp_path / "table.parquet", tmp_path / "limits.toml"
    limits.write_text(ONLY_PERFORMANCE)
    ScheduleBook(settings.database).put(make(name="stream"))
    monitoring = make(name="stream", kind=Kind.MONITOR, data=(str(table),), config=limits)

    def looked(frauds: pl.Expr) -> str:
        reported = pl.when(pl.col("TX_FRAUD") == 1).then(pl.col("TX_DATETIME").dt.offset_by("1d"))
        frame = pl.read_parquet(trained.stream).with_columns(frauds)
        frame.with_columns(reported.alias("REPORTED_AT")).write_parquet(table)
        newest = frame["TX_DATETIME"].max()
        assert isinstance(newest, datetime)
        moment = newest.replace(tzinfo=UTC) + timedelta(days=1)
        return str(monitor(settings, monitoring, moment)["retraining"])

    return looked


def test_a_drop_in_performance_calls_for_a_retraining(look) -> None:
    as_they_are, shuffled = pl.col("TX_FRAUD"), pl.col("TX_FRAUD").shuffle(seed=1)

    assert [look(as_they_are), look(shuffled)] == ["not called for", "started"]

"""Past moments are worked off in order, each with what was known then, and once."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from flows.scheduling.backfilling import BackfillStopped, backfill_schedule
from flows.scheduling.book import RunState, ScheduleBook
from flows.scheduling.schedule import Kind, Schedule
from infra.ledger import Ledger
from infra.settings import Settings
from tests.serving.conftest import shop_frame

# The shop's table begins in March 2026, the simulated stream at the start of 2025.
FIRST = datetime(2026, 3, 20, 3, tzinfo=UTC)
DAYS = [FIRST + timedelta(days=day) for day in range(3)]
RETRAINED = [datetime(2025, 6, day, 3, tzinfo=UTC) for day in (1, 2)]


@pytest.fixture
def table(tmp_path) -> Path:
    """Rows of the shop, with labels."""
    path = tmp_path / "shop.parquet"
    shop_frame().with_columns(pl.lit(0).alias("IS_FRAUD")).write_parquet(path)
    return path


@pytest.fixture
def monitoring(make, table) -> Schedule:
    """A look at that table, every day at three."""
    return make(name="stream", kind=Kind.MONITOR, data=(str(table),), window="30d")


def test_each_moment_of_the_time_is_worked_off_in_order_and_once(released, monitoring) -> None:
    told: list[datetime] = []

    first = backfill_schedule(
        released, monitoring, FIRST, DAYS[-1], on_moment=lambda run: told.append(run.moment)
    )
    again = backfill_schedule(released, monitoring, FIRST, DAYS[-1] + timedelta(hours=1))

    assert [(run.moment, run.state) for run in first.runs] == [(day, RunState.DONE) for day in DAYS]
    assert told == DAYS
    assert again == first
    assert len({run.details["folder"] for run in first.runs}) == 3
    assert len(list(released.root.glob("runs/*-monitor-stream-*"))) == 3


def test_it_stops_at_the_first_that_fails_and_goes_on_there(released, monitoring, table) -> None:
    backfill_schedule(released, monitoring, FIRST, FIRST)
    away = table.rename(table.with_name("away.parquet"))

    with pytest.raises(BackfillStopped, match="1 of 3 moments are done; the same command goes on"):
        backfill_schedule(released, monitoring, FIRST, DAYS[-1])

    book = ScheduleBook(released.database)
    assert [run.state for run in book.runs(monitoring.key)] == [RunState.FAILED, RunState.DONE]
    away.rename(table)
    done = backfill_schedule(released, monitoring, FIRST, DAYS[-1])
    assert [run.attempts for run in done.runs] == [1, 2, 1]


@pytest.mark.slow
def test_a_retraining_of_the_past_sees_the_rows_and_labels_of_then_and_is_not_repeated(
    trained, make, whitecrow, tiny, tmp_path
) -> None:
    settings = Settings(home=shutil.copytree(trained.home, tmp_path / "home"))
    ScheduleBook(settings.database).put(
        make(name="stream", data=(str(trained.stream),), config=tiny, window="150d")
    )
    during = ("--backfill", "2025-06-01", "2025-06-02T12:00")

    done = [
        whitecrow(settings.root, "schedule", "stream", *during, "--json").json for _ in range(2)
    ]

    assert done[0] == done[1]
    assert [run["moment"] for run in done[0]["runs"]] == [day.isoformat() for day in RETRAINED]
    assert [run["version"] for run in done[0]["runs"]] == ["2", "3"]
    windows = [
        (entry.details["since"], entry.details["until"], entry.details["as_of"])
        for entry in Ledger(settings.database).entries("stream")
        if entry.event == "retrain.started"
    ]
    assert windows == [
        ((day - timedelta(days=150)).isoformat(), day.isoformat(), day.isoformat())
        for day in RETRAINED
    ]

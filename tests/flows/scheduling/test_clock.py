"""What is due by the clock, or called for by what is seen, is run once by real workers."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from flows.scheduling.book import RunState
from flows.scheduling.planning import put_schedule, start_now
from flows.scheduling.schedule import Kind, Schedule, ScheduleKey
from tests.flows.scheduling.site import Site, listening, stop

pytestmark = [
    pytest.mark.xdist_group("scheduling"),
    pytest.mark.slow,
    pytest.mark.timeout(900),
]

MONITORING = ScheduleKey(name="stream", kind=Kind.MONITOR)


def test_two_workers_run_each_moment_of_the_clock_once(site: Site, command, stream) -> None:
    made = command(
        site.settings.home, "schedule", "stream", "--monitor", "--cron", "*/2 * * * *",
        "--data", stream,
    )  # fmt: skip
    assert made.code == 0, made.err
    workers = [site.work_as_shipped(), site.work_as_shipped()]

    site.wait_until(lambda: len(done(site)) >= 2)
    assert [stop(worker) for worker in workers] == [0, 0]

    runs = site.book.runs(MONITORING)
    assert all(run.moment.second == 0 for run in runs)
    finished = [run for run in runs if run.state == RunState.DONE]
    assert [run.attempts for run in finished] == [1] * len(finished), site.told()
    folders = {run.details["folder"] for run in finished}
    assert len(folders) == len(finished)
    # What was stopped in its middle has a folder, too.
    left = [run for run in runs if run.state == RunState.BEGUN]
    assert (
        len(folders)
        <= len(list(site.settings.root.glob("runs/*-monitor-stream-*")))
        <= len(folders) + len(left)
    )


def done(site: Site) -> list[datetime]:
    return [run.moment for run in site.book.runs(MONITORING) if run.state == RunState.DONE]


def test_what_was_missed_is_made_up_for_once_and_the_silence_is_told_once(
    site: Site, stream, tiny, make
) -> None:
    schedule = make(
        name="stream", data=(str(stream),), config=tiny,
        since=datetime.now(UTC) - timedelta(days=5),
    )  # fmt: skip
    # Nothing ran for days: no worker, no server.
    site.book.put(schedule)
    missed = schedule.moments.last(5, datetime.now(UTC))

    with listening() as listener:
        site.environment = {
            "WHITECROW_NOTIFY": listener.url,
            "WHITECROW_WEBHOOK_SECRET": "shared",
        }
        workers = [site.work(), site.work()]
        run = site.wait_for_the_end(schedule.key)
        assert [stop(worker) for worker in workers] == [0, 0]

    assert (run.moment, run.state, run.attempts) == (missed[-1], RunState.DONE, 1), site.told()
    assert [run.moment for run in site.book.runs(schedule.key)] == missed[-1:]
    assert site.retrained() == (1, ["1", "2"])
    (body,) = listener.bodies
    assert body["subject"] == "whitecrow: nothing good of stream for 3 moments"
    assert body["details"]["periods"] == 3
    assert "None was begun: is whitecrow worker running?" in body["lines"][0]


@pytest.fixture
def retraining(make, stream, tiny) -> Schedule:
    """A retraining that the clock does not call for."""
    return make(
        name="stream", cron="0 0 1 1 *", data=(str(stream),), config=tiny, since=datetime.now(UTC)
    )  # fmt: skip


@pytest.fixture
def monitoring(make, stream: Path, tmp_path: Path) -> Schedule:
    """A look at the stream with amounts that nobody has seen before."""
    drifted, limits = tmp_path / "drifted.parquet", tmp_path / "limits.toml"
    pl.read_parquet(stream).with_columns(pl.col("TX_AMOUNT") * 10).write_parquet(drifted)
    limits.write_text("[limits.column_drift]\nretrain = 0.5\n")
    return make(
        name="stream", kind=Kind.MONITOR, cron="0 0 1 1 *", data=(str(drifted),), config=limits,
        since=datetime.now(UTC),
    )  # fmt: skip


def test_drift_starts_the_scheduled_retraining_once(site: Site, retraining, monitoring) -> None:
    put_schedule(site.settings, retraining)
    put_schedule(site.settings, monitoring)

    moment = start_now(site.settings, monitoring.key)
    site.work()
    run = site.wait_for_the_end(retraining.key)

    assert (run.moment, run.state, run.attempts) == (moment, RunState.DONE, 1), site.told()
    assert site.retrained() == (1, ["1", "2"])
    looked = site.wait_for_the_end(monitoring.key)
    assert looked.details["retraining"] == "started"

    again = start_now(site.settings, monitoring.key)
    site.wait_until(lambda: site.book.run(monitoring.key, again) is not None)
    looked = site.wait_for_the_end(monitoring.key)
    assert looked.details["retraining"].startswith("called for, but there was one as of ")
    assert site.retrained() == (1, ["1", "2"])

"""A worker runs what is due once, through kills, beside another worker, and without its server."""

from datetime import UTC, datetime

import pytest

from flows.scheduling.book import RunState
from flows.scheduling.planning import put_schedule, start_now
from flows.scheduling.running import is_held
from flows.scheduling.schedule import Schedule
from tests.flows.scheduling.site import Site, kill_with_runs, stop

pytestmark = [
    pytest.mark.xdist_group("scheduling"),
    pytest.mark.slow,
    pytest.mark.timeout(900),
]


@pytest.fixture
def schedule(site, trained, tiny, make) -> Schedule:
    """The retraining of ``stream``; one run of it waits for a worker."""
    schedule = make(
        name="stream", cron="0 0 1 1 *", data=(str(trained.stream),), config=tiny,
        since=datetime.now(UTC),
    )  # fmt: skip
    put_schedule(site.settings, schedule)
    start_now(site.settings, schedule.key)
    return schedule


def test_two_workers_retrain_once_and_end_when_they_are_told(site: Site, schedule) -> None:
    first, second = site.work(), site.work()

    run = site.wait_for_the_end(schedule.key)

    assert (run.state, run.attempts) == (RunState.DONE, 1), site.told()
    assert site.retrained() == (1, ["1", "2"])
    assert [stop(first), stop(second)] == [0, 0]


def test_what_a_killed_worker_left_the_next_one_finishes_once(site: Site, schedule) -> None:
    worker = site.work()
    site.wait_for_the_middle(schedule.key)
    kill_with_runs(worker)
    site.wait_until(lambda: not is_held(site.settings, schedule.key))

    site.work()
    run = site.wait_for_the_end(schedule.key)

    assert (run.state, run.attempts) == (RunState.DONE, 2), site.told()
    assert site.retrained() == (1, ["1", "2"])


def test_a_run_outlives_its_killed_worker_and_the_next_one_does_not_double_it(
    site: Site, schedule
) -> None:
    worker = site.work()
    site.wait_for_the_middle(schedule.key)
    worker.kill()
    worker.wait()
    assert is_held(site.settings, schedule.key)

    site.work()
    run = site.wait_for_the_end(schedule.key)

    assert (run.state, run.attempts) == (RunState.DONE, 1), site.told()
    assert site.retrained() == (1, ["1", "2"])


def test_a_worker_that_is_stopped_leaves_its_run_to_the_next_one(site: Site, schedule) -> None:
    worker = site.work()
    site.wait_for_the_middle(schedule.key)

    assert stop(worker) == 0
    site.wait_until(lambda: not is_held(site.settings, schedule.key), within=60)
    site.work()
    run = site.wait_for_the_end(schedule.key)

    assert (run.state, run.attempts) == (RunState.DONE, 2), site.told()
    assert site.retrained() == (1, ["1", "2"])


@pytest.mark.parametrize("with_database", [True, False], ids=["server", "server and database"])
def test_a_moment_outlives_the_loss_of_prefects(site: Site, schedule, with_database) -> None:
    site.work()
    site.wait_for_the_middle(schedule.key)
    server = site.server
    server.kill()
    server.wait(60)
    if not with_database:
        for file in (site.settings.root / "prefect").glob("server.db*"):
            file.unlink()

    run = site.wait_for_the_end(schedule.key)

    assert run.state == RunState.DONE, site.told()
    assert site.retrained() == (1, ["1", "2"])
    assert site.server.pid != server.pid
    if run.attempts > 1:
        assert "Prefect's server went away in the middle" in site.told()

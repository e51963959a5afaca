"""What a crash, a restart or an outage left is mended, on a real server."""

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import Running, Scheduled

from flows.scheduling.book import RunState, ScheduleBook
from flows.scheduling.deployments import Deployments, moment_of
from flows.scheduling.running import MOST_ATTEMPTS, held
from flows.scheduling.schedule import Schedule
from flows.scheduling.server import ServerUnavailable, ensure_server
from flows.scheduling.upkeep import Patience, look_after

pytestmark = [pytest.mark.xdist_group("scheduling"), pytest.mark.slow]

AT_ONCE = Patience(running=0.0, pending=0.0, missing=0.0)


@pytest.fixture
def deployments(served) -> Iterator[Deployments]:
    with Deployments.at(ensure_server(served)) as found:
        yield found


@pytest.fixture
def book(served) -> ScheduleBook:
    return ScheduleBook(served.database)


@pytest.fixture
def schedule(make, book) -> Iterator[Schedule]:
    """A schedule of a model of its own, due now and then."""
    schedule = make(name=f"m{uuid.uuid4().hex[:8]}")
    book.put(schedule)
    yield schedule
    book.remove(schedule.key)


def newest(schedule: Schedule) -> datetime:
    return schedule.moments.newest(datetime.now(UTC))


def runs(deployments: Deployments, schedule: Schedule, *states: StateType) -> list[FlowRun]:
    copy = deployments.find(schedule.key)
    assert copy is not None
    return deployments.due_runs(copy.id, *states)


def look(served, schedule: Schedule, patience: Patience = AT_ONCE) -> None:
    look_after(served, ensure_server(served), (schedule.name,), patience)


def test_the_server_gets_the_schedules_that_it_lacks(served, deployments, schedule) -> None:
    look(served, schedule, Patience())

    copy = deployments.find(schedule.key)
    assert copy is not None
    assert deployments.is_copied(schedule, copy)
    assert copy.work_queue_name == schedule.name
    assert copy.global_concurrency_limit is not None
    assert copy.global_concurrency_limit.limit == 1


def test_a_changed_schedule_is_copied_again(served, deployments, schedule, book) -> None:
    look(served, schedule, Patience())
    changed = schedule.changed(cron="0 5 * * *")
    book.put(changed)

    look(served, schedule, Patience())

    copy = deployments.find(schedule.key)
    assert copy is not None
    assert deployments.is_copied(changed, copy)


def test_a_moment_that_the_server_lost_is_run_once(served, deployments, schedule) -> None:
    for _ in range(2):
        look(served, schedule)

    (run,) = runs(deployments, schedule)
    assert newest(schedule) == moment_of(schedule, run)


def test_what_was_done_a_paused_schedule_and_times_before_it_are_not_caught_up(
    served, deployments, schedule, book, make
) -> None:
    book.end(schedule.key, newest(schedule), RunState.DONE)
    others = [
        make(name=f"{schedule.name}-paused", paused=True),
        make(name=f"{schedule.name}-young", since=datetime.now(UTC)),
    ]
    for other in others:
        book.put(other)
        look(served, other)

    look(served, schedule)

    for each in (schedule, *others):
        assert runs(deployments, each) == []


def test_of_late_runs_only_the_newest_is_left(served, deployments, schedule, book) -> None:
    deployment_id = deployments.put(schedule)
    moments = schedule.moments.last(3, datetime.now(UTC))
    for moment in moments:
        deployments.client.create_flow_run_from_deployment(
            deployment_id, state=Scheduled(scheduled_time=moment)
        )
    planned = runs(deployments, schedule)
    assert moments == sorted(moment_of(schedule, run) for run in planned)

    look(served, schedule)

    (left,) = runs(deployments, schedule, StateType.SCHEDULED)
    assert moments[-1] == moment_of(schedule, left)
    assert [run.state for run in book.runs(schedule.key)] == [RunState.PASSED_OVER] * 2


def running(deployments: Deployments, schedule: Schedule) -> FlowRun:
    deployments.put(schedule)
    run = deployments.start(schedule, newest(schedule))
    deployments.client.set_flow_run_state(run.id, Running(), force=True)
    return run


def test_a_run_whose_process_is_gone_goes_on(served, deployments, schedule, book) -> None:
    running(deployments, schedule)
    book.begin(schedule.key, newest(schedule))

    look(served, schedule)

    (run,) = runs(deployments, schedule)
    assert run.state_type == StateType.SCHEDULED


def test_a_run_whose_process_lives_or_has_just_begun_is_left_alone(
    served, deployments, schedule, book
) -> None:
    running(deployments, schedule)
    book.begin(schedule.key, newest(schedule))

    look(served, schedule, Patience())
    with held(served, schedule):
        look(served, schedule)

    (run,) = runs(deployments, schedule)
    assert run.state_type == StateType.RUNNING


def test_a_run_that_could_not_say_that_it_is_done_is_closed(
    served, deployments, schedule, book
) -> None:
    running(deployments, schedule)
    book.end(schedule.key, newest(schedule), RunState.DONE)

    look(served, schedule)

    (run,) = runs(deployments, schedule)
    assert run.state_type == StateType.COMPLETED


def test_a_moment_begun_before_the_server_was_lost_goes_on(
    served, deployments, schedule, book
) -> None:
    book.begin(schedule.key, newest(schedule))

    for _ in range(2):
        look(served, schedule)

    (run,) = runs(deployments, schedule)
    assert (StateType.SCHEDULED, newest(schedule)) == (run.state_type, moment_of(schedule, run))


def test_what_is_cut_off_again_and_again_is_given_up(served, deployments, schedule, book) -> None:
    running(deployments, schedule)
    for _ in range(MOST_ATTEMPTS):
        book.begin(schedule.key, newest(schedule))

    look(served, schedule)

    (known,) = book.runs(schedule.key)
    assert (known.state, known.why) == (RunState.FAILED, "It was cut off 5 times; see its log.")


def test_asked_for_twice_a_moment_runs_once(deployments, schedule) -> None:
    moment = newest(schedule) + timedelta(seconds=7)

    ids = {deployments.start(schedule, moment).id for _ in range(2)}

    assert len(ids) == 1


def test_a_work_pool_that_there_is_not_is_one_line(deployments, make) -> None:
    with pytest.raises(ServerUnavailable, match="--pool: Prefect has no work pool 'elsewhere'"):
        deployments.ensure_pool("elsewhere")


def test_a_server_that_stops_answering_is_one_line(settings, make) -> None:
    ScheduleBook(settings.database).put(make())

    with pytest.raises(ServerUnavailable, match="does not answer"):
        look_after(settings, "http://127.0.0.1:1/api", ())

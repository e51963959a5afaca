"""One moment is worked off once, by whoever comes first."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from features.online.events import microseconds_of
from flows.scheduling.book import RunState, ScheduleBook
from flows.scheduling.running import CutOff, is_held, run_moment
from infra.errors import Refusal
from serving.outcomes import Outcome, OutcomeBook

PAST = datetime(2025, 6, 1, 3, tzinfo=UTC)


def work_into(file: Path):
    def work(settings, schedule, moment):
        with file.open("a") as stream:
            stream.write(f"{moment:%Y-%m-%d}\n")
        return {"says": "well"}

    return work


def newest(schedule) -> datetime:
    return schedule.moments.newest(datetime.now(UTC))


def test_what_was_done_is_not_done_again(settings, make, tmp_path) -> None:
    schedule, work = make(), work_into(tmp_path / "done")

    runs = [run_moment(settings, schedule, newest(schedule), work) for _ in range(2)]

    assert [run.state for run in runs] == [RunState.DONE] * 2
    assert runs[1].details == {"says": "well"}
    assert len((tmp_path / "done").read_text().splitlines()) == 1


def test_a_late_moment_is_passed_over_and_a_backfill_does_it(settings, make, tmp_path) -> None:
    schedule, work = make(), work_into(tmp_path / "done")

    late = run_moment(settings, schedule, PAST, work)
    filled = run_moment(settings, schedule, PAST, work, even_if_late=True)

    assert (late.state, filled.state) == (RunState.PASSED_OVER, RunState.DONE)
    assert late.why.endswith("was due by then")
    assert (tmp_path / "done").read_text().splitlines() == ["2025-06-01"]


def test_a_refusal_fails_the_moment_which_may_be_tried_again(settings, make) -> None:
    schedule = make()
    moment = newest(schedule)

    def refuse(settings, schedule, moment):
        raise Refusal("The label rate is 0.9.")

    with pytest.raises(Refusal, match="label rate"):
        run_moment(settings, schedule, moment, refuse)

    failed = ScheduleBook(settings.database).run(schedule.key, moment)
    assert failed is not None
    assert (failed.state, failed.why) == (RunState.FAILED, "The label rate is 0.9.")
    again = run_moment(settings, schedule, moment, lambda *_: {})
    assert (again.state, again.attempts) == (RunState.DONE, 2)


def test_a_server_that_went_away_is_no_failure_of_the_work(settings, make, caplog) -> None:
    schedule = make()
    moment = newest(schedule)

    def lose_the_server(settings, schedule, moment):
        try:
            httpx.get("http://127.0.0.1:1/")
        except httpx.TransportError as error:
            raise Refusal("Retraining stopped.") from error

    with pytest.raises(CutOff, match="Prefect's server went away in the middle"):
        run_moment(settings, schedule, moment, lose_the_server)

    assert "Prefect's server went away in the middle" in caplog.text
    run = ScheduleBook(settings.database).run(schedule.key, moment)
    assert run is not None
    assert run.state == RunState.BEGUN


def test_another_server_that_was_away_on_the_side_is_the_works_own_affair(settings, make) -> None:
    schedule = make()

    def refuse(settings, schedule, moment):
        try:
            httpx.get("http://127.0.0.1:1/")
        except httpx.TransportError:
            raise Refusal("The label rate is 0.9.") from None

    with pytest.raises(Refusal, match="label rate"):
        run_moment(settings, schedule, newest(schedule), refuse)


def test_an_unforeseen_error_leaves_the_moment_begun(settings, make) -> None:
    schedule = make()
    moment = newest(schedule)

    with pytest.raises(ZeroDivisionError):
        run_moment(settings, schedule, moment, lambda *_: 1 / 0)  # type: ignore[arg-type,return-value]

    assert [moment] == [run.moment for run in ScheduleBook(settings.database).begun(schedule.key)]
    assert not is_held(settings, schedule.key)


@pytest.mark.parametrize(
    ("moments", "n_done"),
    [((PAST, PAST), 1), ((PAST, PAST + timedelta(days=1)), 2)],
    ids=["the same moment", "two moments"],
)
def test_two_at_once_do_each_moment_once_and_one_after_the_other(
    settings, make, moments, n_done
) -> None:
    schedule = make()
    lock, under_way, most, done = threading.Lock(), 0, 0, 0

    def work(*_):
        nonlocal under_way, most, done
        with lock:
            under_way += 1
            most = max(most, under_way)
        time.sleep(0.2)
        with lock:
            under_way -= 1
            done += 1
        return {}

    with ThreadPoolExecutor() as pool:
        runs = list(
            pool.map(
                lambda moment: run_moment(settings, schedule, moment, work, even_if_late=True),
                moments,
            )
        )

    assert [run.state for run in runs] == [RunState.DONE] * 2
    assert (most, done) == (1, n_done)


@pytest.mark.parametrize(("reported", "state"), [(2, RunState.RESTED), (3, RunState.DONE)])
def test_a_retraining_waits_for_enough_new_labels(released, make, reported, state) -> None:
    schedule = make(name="stream", min_new_labels=3, since=datetime.now(UTC) - timedelta(days=9))
    moment = newest(schedule)
    known_at = microseconds_of(moment - timedelta(hours=1))
    new = [Outcome(f"new-{n}", 1, known_at) for n in range(reported)]
    old = [Outcome(f"old-{n}", 1, microseconds_of(PAST)) for n in range(5)]
    OutcomeBook(released.root).record("stream", new + old, now=known_at)

    run = run_moment(released, schedule, moment, lambda *_: {})

    assert state == run.state
    if state == RunState.RESTED:
        assert run.why.startswith("2 new labels since ")
        assert run.why.endswith("a retraining waits for 3")


def test_on_demand_it_waits_for_no_labels(released, make) -> None:
    schedule = make(name="stream", min_new_labels=3)

    run = run_moment(released, schedule, newest(schedule), lambda *_: {}, even_without_labels=True)

    assert run.state == RunState.DONE

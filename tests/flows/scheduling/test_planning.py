"""The commands around schedules, on a real server; what is wrong is one line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.scheduling.book import ScheduleBook
from flows.scheduling.deployments import Deployments
from flows.scheduling.schedule import ScheduleKey
from flows.scheduling.server import ensure_server
from infra.ledger import Ledger
from infra.settings import Settings

pytestmark = pytest.mark.xdist_group("scheduling")

CRON = ("--cron", "0 3 * * *")


@pytest.fixture
def home(whitecrow, released, monkeypatch) -> Path:
    """A state folder with the model ``stream``, on the session's Prefect server."""
    from prefect.settings import PREFECT_API_URL

    monkeypatch.setenv("PREFECT_API_URL", str(PREFECT_API_URL.value()))
    return released.root


@pytest.fixture
def ask(command, home) -> Callable[..., Any]:
    return lambda *arguments: command(home, "schedule", *arguments)


def test_a_schedule_is_made_listed_paused_and_taken_away(ask, home, stream) -> None:
    made = ask("stream", *CRON, "--data", stream, "--window", "90d", "--reason", "each night",
               "--actor", "ana", "--json")  # fmt: skip
    assert made.code == 0, made.err
    assert ("stream", "90d", [str(stream)]) == tuple(
        made.json[key] for key in ("name", "window", "data")
    )

    (listed,) = ask("list", "--json").json["schedules"]
    assert listed["next"].endswith("T03:00:00+00:00")
    assert "stream" in ask("list").out

    assert ask("pause", "stream", "--actor", "ben", "--json").json["paused"]
    assert ask("list", "--json").json["schedules"][0]["next"] is None
    assert not ask("resume", "stream", "--json").json["paused"]
    assert ask("remove", "stream", "--reason", "enough", "--json").json["removed"]
    assert ask("list", "--json").json["schedules"] == []

    settings = Settings(home=home)
    told = [
        (entry.event, entry.actor)
        for entry in Ledger(settings.database).entries("stream")
        if entry.event.startswith("schedule")
    ]
    assert [event for event, _ in told] == [
        "scheduled",
        "schedule.paused",
        "schedule.resumed",
        "schedule.removed",
    ]
    assert (told[0][1], told[1][1]) == ("ana", "ben")
    with Deployments.at(ensure_server(settings)) as deployments:
        assert deployments.find(ScheduleKey(name="stream")) is None


def test_a_run_on_demand_waits_for_a_worker(ask, stream) -> None:
    assert ask("stream", *CRON, "--data", stream).code == 0

    done = ask("run", "stream", "--json")

    assert (done.code, done.json["kind"]) == (0, "retrain")
    ask("remove", "stream")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("stream",), "--cron: say when"),
        (("stream", "--cron", "daily at 3"), "--cron: 'daily at 3' cannot be read."),
        (("stream", *CRON, "--timezone", "Mars"), "--timezone: there is no zone 'Mars'."),
        (("stream", *CRON, "--window", "long"), "--window: "),
        (("stream", *CRON, "--data", "missing.parquet"), "There is no file "),
        (("stream", *CRON, "--config", "missing.toml"), "Cannot read missing.toml"),
        (
            ("stream", *CRON, "--monitor", "--data", "a", "--data", "b"),
            "--data: a monitoring looks",
        ),
        (("stream", *CRON, "--monitor", "--min-new-labels", "5"), "--min-new-labels: a monitoring"),
        (("stream", *CRON, "--monitor", "--rule", "rule.toml"), "--rule: it is the gate's"),
        (("stream", *CRON, "--rule", "missing.toml"), "Cannot read missing.toml"),
        (("stream", *CRON, "--pool", "elsewhere"), "--pool: Prefect has no work pool 'elsewhere'."),
        (("loans", *CRON), "No model 'loans' in "),
        (("Loans", *CRON), "NAME: 'Loans' is no name of a model"),
        (("stream", "--backfill", "2025-06-01", "2025-06-03"), "There is no schedule stream"),
        (("stream", *CRON, "--backfill", "2025", "soon"), "--backfill: write a moment like"),
        (("pause", "stream"), "There is no schedule stream"),
        (("remove", "stream", "--monitor"), "There is no schedule stream (monitor)"),
        (("run", "stream"), "There is no schedule stream"),
    ],
)
def test_what_is_wrong_is_one_line_and_schedules_nothing(ask, home, arguments, message) -> None:
    done = ask(*arguments)

    assert done.code == 2
    assert done.error.startswith(message), done.error
    assert ScheduleBook(Settings(home=home).database).schedules() == []


def test_a_silent_schedule_makes_the_check_say_no(ask, home, make) -> None:
    assert ask("check").code == 0
    ScheduleBook(Settings(home=home).database).put(make(name="stream"))

    done = ask("check", "--periods", "2", "--json")
    assert (done.code, [each["name"] for each in done.json["silent"]]) == (1, ["stream"])
    done = ask("check")
    assert (done.code, len(done.out.splitlines())) == (1, 1)

"""A whole bake-off on a small table: what it writes, that it goes on, what it refuses."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from infra.settings import Settings
from infra.tracking import open_tracking

SLOW_MEMBER = """
[strategy]
kind = "erm"
[strategy.training]
max_epochs = 100000
patience = 100000
"""


@pytest.fixture(scope="module")
def compared(command, tiny, stream, tmp_path_factory):
    home = tmp_path_factory.mktemp("bakeoff")
    slow = home / "slow.toml"
    slow.write_text(SLOW_MEMBER)
    arguments = (
        "benchmark", stream, "-c", "simulated_stream", "--config", tiny, "--strategies",
        "erm,metabalance", "--seeds", 2, "--trials", 2, "--cores", 2, "--json",
    )  # fmt: skip
    return home, arguments, command(home, *arguments)


def test_members_are_judged_on_the_same_rows(compared):
    _, _, done = compared
    assert done.code == 0, done.err
    members = {member["name"]: member for member in done.json["members"]}

    assert set(members) == {"erm", "metabalance", "auto"}
    assert all(member["finished"] for member in members.values())
    gain = members["metabalance"]["gains"]["erm"]
    assert gain["low"] <= gain["value"] <= gain["high"]
    difference = (
        members["metabalance"]["metrics"]["average_precision"]
        - members["erm"]["metrics"]["average_precision"]
    )
    assert gain["value"] == pytest.approx(difference)


def test_the_table_has_a_row_a_member_and_repetition(compared):
    table = pl.read_parquet(compared[2].json["table"])

    assert sorted(zip(table["member"], table["seed"], strict=True)) == [
        ("auto", 0), ("auto", 1), ("erm", 0), ("erm", 1), ("metabalance", 0), ("metabalance", 1),
    ]  # fmt: skip
    assert (table["trials_finished"] == 2).all()
    assert (table["peak_bytes"] > 2**20).all()
    assert (table["fit_seconds"] > 0).all()


def test_auto_is_what_validation_prefers_in_each_repetition(compared):
    table = pl.read_parquet(compared[2].json["table"])

    for seed in (0, 1):
        runs = table.filter(pl.col("seed") == seed)
        auto = runs.row(by_predicate=pl.col("member") == "auto", named=True)
        others = runs.filter(pl.col("member") != "auto")
        best = others.row(
            by_predicate=pl.col("validation_average_precision")
            == others["validation_average_precision"].max(),
            named=True,
        )
        assert auto["average_precision"] == best["average_precision"]
        assert auto["strategy"] == best["strategy"]


def test_the_page_stands_alone(compared):
    page = Path(compared[2].json["page"]).read_text("utf-8")

    assert "MetaBalance, first order" in page
    assert page.count("data:image/png;base64,") == 2
    assert "http" not in page.split("<main>")[1]


def test_mlflow_has_a_parent_and_a_child_for_each_member(compared):
    home, _, done = compared
    tracking = open_tracking(Settings(home=home))
    experiment = tracking.client.get_experiment_by_name("simulated_stream-bakeoff")
    runs = tracking.client.search_runs([experiment.experiment_id])

    parent = done.json["run_id"]
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent]
    assert {run.info.run_name for run in children} == {"erm", "metabalance", "auto"}
    assert all("average_precision" in run.data.metrics for run in children)


def test_what_was_fitted_before_is_not_fitted_again(compared, command):
    home, arguments, done = compared
    fits = {path: path.stat().st_mtime_ns for path in home.rglob("result.json")}

    again = command(home, *arguments)

    assert again.json["members"] == done.json["members"]
    assert {path: path.stat().st_mtime_ns for path in home.rglob("result.json")} == fits


def test_a_fit_beyond_the_cap_did_not_finish(compared, command, stream, tiny):
    home, _, _ = compared

    done = command(
        home, "benchmark", stream, "-c", "simulated_stream", "--config", tiny, "--strategies",
        f"erm,{home / 'slow.toml'}", "--cap", 1, "--json",
    )  # fmt: skip

    members = {member["name"]: member for member in done.json["members"]}
    assert members["slow"]["why_not"] == "longer than 1 s"
    assert members["slow"]["metrics"] == {}


def test_a_killed_bakeoff_leaves_no_fit_running_and_goes_on(tmp_path, stream, tiny, command):
    slow = tmp_path / "slow.toml"
    slow.write_text(SLOW_MEMBER)
    arguments = [
        "benchmark", str(stream), "-c", "simulated_stream", "--config", str(tiny),
        "--strategies", f"erm,{slow}", "--cap", "1000", "--cores", "2",
    ]  # fmt: skip
    started = subprocess.Popen(
        [sys.executable, "-c", "from flows.cli import main; main()", *arguments],
        env=os.environ | {"WHITECROW_HOME": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _wait(lambda: any(tmp_path.rglob("fits/erm/*/result.json")) and _pids(tmp_path))

    started.send_signal(signal.SIGKILL)
    started.wait()

    _wait(lambda: not _pids(tmp_path))
    (before,) = tmp_path.rglob("result.json")
    written = before.stat().st_mtime_ns
    slow.write_text(SLOW_MEMBER.replace("100000", "1"))
    done = command(tmp_path, *arguments, "--json")
    assert all(member["finished"] for member in done.json["members"])
    assert before.stat().st_mtime_ns == written


def test_a_fit_that_breaks_off_says_why_and_is_tried_again(tmp_path, stream, tiny, command):
    broken = tmp_path / "broken.toml"
    broken.write_text(
        '[strategy]\nkind = "erm"\n[strategy.network]\nkind = "mlp"\nwidth = 99999999'
    )
    arguments = (
        "benchmark", stream, "-c", "simulated_stream", "--config", tiny,
        "--strategies", broken, "--json",
    )  # fmt: skip

    (member,) = command(tmp_path, *arguments).json["members"]

    assert not member["finished"]
    assert "memory" in member["why_not"]
    assert not list(tmp_path.rglob("result.json"))


def _pids(home: Path) -> list[str]:
    """Return the processes that work on a fit below the state folder."""
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            try:
                words = (path / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"flows.bakeoff.job" in words and any(str(home).encode() in w for w in words):
                found.append(path.name)
    return found


def _wait(until, *, seconds: float = 180) -> None:
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, "gave up waiting"
        time.sleep(0.2)


def test_bad_options_are_told_in_one_line(command, tmp_path, stream):
    def refused(*more) -> str:
        done = command(tmp_path, "benchmark", stream, "-c", "simulated_stream", *more)
        assert done.code == 2
        return done.error

    assert "There is no strategy 'ermm'" in refused("--strategies", "ermm")
    assert "--split" in refused("--split", "sideways")
    assert "--strategies: Name at least one" in refused("--strategies", ",")

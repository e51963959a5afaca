"""The simulated year as a command: refused in one line, or told on one page."""

import json
import re
import warnings
from pathlib import Path

import polars as pl
import pytest

from flows.year.comparison import RETRAINED
from flows.year.outcome import YearOutcome
from flows.year.plan import NAME, YearPlan
from flows.year.run import run_year
from flows.year.story import detection, new_fraud_recall, recovery
from infra.errors import InputError
from infra.ledger import Ledger
from tests.flows.test_pages_in_browser import CHROMIUM, browse

# The first test that wants it waits for the whole year.
pytestmark = [pytest.mark.xdist_group("year"), pytest.mark.timeout(1800)]


def test_a_folder_that_holds_something_is_refused(command, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("x")
    done = command(tmp_path / "home", "demo", "--year", "--out", tmp_path / "out")

    assert done.code == 2
    assert done.error == f"--out: {tmp_path / 'out'} is not an empty folder. Name a new one."
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--year"], "--year needs --out"),
        (["--out", "somewhere"], "--out is for --year"),
        (["--year", "--out", "x", "--rows", "100"], "--rows"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    command, tmp_path: Path, options: list[str], message: str
) -> None:
    done = command(tmp_path, "demo", *options)

    assert done.code == 2
    assert message in done.error


@pytest.mark.parametrize("name", ["TRACKING_URI", "STATE_URI", "LOG_URI"])
def test_servers_that_others_may_use_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(f"WHITECROW_{name}", "http://127.0.0.1:1")

    with pytest.raises(InputError, match=f"WHITECROW_{name} names a server"):
        run_year(YearPlan(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_year_that_is_not_over_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a service takes nothing from the future"):
        run_year(YearPlan(year=2999), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def year(whitecrow, tmp_path_factory: pytest.TempPathFactory) -> YearOutcome:
    """Five months are served; the new fraud appears in the second of them."""
    plan = YearPlan(
        rows=120_000, first_month=8, retrains_from=10, new_fraud_month=9, flipped_month=11,
        rollback_month=12,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of MLflow and Prefect, as for every command
        return run_year(plan, tmp_path_factory.mktemp("year") / "out")


@pytest.mark.slow
def test_the_new_fraud_is_found_and_a_promotion_of_the_gate_recovers_recall(year) -> None:
    plan, promotion = year.plan, recovery(year.timeline, year.plan)
    events = [each.event for each in Ledger(year.folder / "home/whitecrow.db").entries(NAME)]

    assert detection(year.timeline, plan) is not None
    assert promotion is not None
    before = new_fraud_recall(year.months, RETRAINED, range(9, promotion.at.month))
    after = new_fraud_recall(year.months, RETRAINED, range(promotion.at.month, 13))
    assert before is not None
    assert after is not None
    assert after.value > before.value
    assert events.count("gated") == len(list(year.folder.glob("home/runs/*-gate-*/gate.html")))


@pytest.mark.slow
def test_flipped_labels_do_not_pass_the_gate(year) -> None:
    (bad,) = [each for each in year.timeline.happenings if each.facts.get("flipped")]

    assert bad.kind == "refused"
    assert (year.folder / bad.pages["verdict"]).is_file()
    assert bad.version not in [version for _, version in year.timeline.live()]


@pytest.mark.slow
def test_the_service_follows_the_rollback(year) -> None:
    """Rows of every day name the version that the timeline has live by then."""
    (back,) = year.timeline.of("rolled_back")
    (served,) = year.folder.glob("tables/served_*-08_2026-01.parquet")
    rows = pl.read_parquet(served, columns=["TX_DATETIME", "model_version"])
    days = rows.group_by(pl.col("TX_DATETIME").dt.truncate("1d"), maintain_order=True).agg(
        pl.col("model_version").unique()
    )

    assert back.facts["from"] != back.facts["to"]
    for day, versions in days.iter_rows():
        if day.date() != back.at.date():  # in the middle of that day
            assert versions == [year.timeline.live_at(day)]


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_the_page_tells_the_year_in_a_browser(year, tmp_path: Path) -> None:
    dom = browse(year.page, "--dump-dom", profile=tmp_path)
    served = sum(each.rows for each in year.months if each.way == RETRAINED)

    assert dom.count('src="data:image/png;base64,') == 6
    assert dom.count("<tr") > len(year.timeline.happenings)
    for link in re.findall(r'href="([^"]+)"', dom):
        assert (year.folder / link).is_file(), link
    assert year.coverage["rows"] == year.coverage["decided"] == served
    assert json.loads(year.record.read_text())["story"][0]["title"] == "The new fraud detected"

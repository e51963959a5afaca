"""Traffic in the decision log: drift that is there is found, and none is not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows.monitoring.config import MonitorConfig
from flows.monitoring.gathering import gather
from flows.monitoring.request import MonitorRequest
from flows.monitoring.table_rows import WindowUnusable
from serving.model_references import UnknownModel
from tests.flows.monitoring.conftest import BEGIN, DELAYED, Shop
from tests.serving.conftest import make_home


def found(report: Any) -> dict[tuple[str, str], str]:
    return {(each.metric, each.about): each.action for each in report.findings}


@pytest.fixture
def steady(shop: Shop) -> Shop:
    """Ten days of the same traffic, 60 rows a day."""
    for day in range(10):
        shop.serve(day, 60)
    return shop


def test_the_same_traffic_again_is_nothing_to_report(steady: Shop) -> None:
    for day in range(10, 20):
        steady.serve(day, 60)

    report = steady.look(10, 20, 20)

    assert found(report) == {}
    assert report.action == "none"
    assert (report.rows, report.reference_rows) == (600, 600)
    assert report.headline == "shop:1: nothing to report of 600 rows."
    names = {each.column for each in report.columns}
    assert names == {"AMOUNT", "AGE_DAYS", "DISTANCE", "IS_NIGHT", "COUNTRY", "DEVICE"}


def test_what_changed_is_named_and_what_did_not_is_not(steady: Shop) -> None:
    for day in range(10, 20):
        steady.serve(
            day,
            60,
            AGE_DAYS=lambda rng: int(rng.integers(400, 1000)),
            COUNTRY=lambda rng: str(rng.choice(["DE", "ZZ"])),
            DISTANCE=lambda rng: ... if rng.random() < 0.3 else 1.0,
        )

    said = found(steady.look(10, 20, 20))

    assert said["column_drift", "AGE_DAYS"] == "retrain"
    assert said["unseen_rise", "COUNTRY"] == "retrain"
    assert said["missing_rise", "DISTANCE"] == "retrain"
    assert not {("column_drift", "AMOUNT"), ("column_drift", "DEVICE")} & said.keys()


def test_labels_that_mature_are_judged_and_younger_rows_are_not(steady: Shop) -> None:
    answers = [each for day in range(10, 20) for each in steady.serve(day, 60)]
    rng = np.random.default_rng(0)
    frauds = {each.id: 1 for each in answers if rng.random() < each.risk_score}
    steady.report(frauds, 21)

    half, whole = steady.look(10, 20, 21.999), steady.look(10, 20, 40)

    assert half.monitored.coverage.mature == half.monitored.coverage.rows // 2 == 300
    assert whole.monitored.coverage.mature == 600
    assert whole.monitored.coverage.labelled == 600 - whole.monitored.coverage.declines + sum(
        each.id in frauds for each in answers if each.decision == "decline"
    )
    assert whole.maturity is not None
    assert whole.maturity.known_positives == half.maturity.known_positives == len(frauds)
    assert whole.monitored.estimated_labelled is not None


def test_before_anybody_reported_nothing_is_known(steady: Shop) -> None:
    report = steady.look(0, 10, 10)

    assert report.monitored.coverage.positives == 0
    assert report.monitored.realised is None
    assert report.monitored.estimated is not None
    assert report.maturity.expected_to_come is None


def test_a_version_change_within_the_window_is_told_apart(steady: Shop) -> None:
    for day in range(10, 15):
        steady.serve(day, 60)
    make_home(steady.home, contract=DELAYED, version="2", intercept=-4.0)
    for day in range(15, 20):
        steady.serve(day, 60)

    report = steady.look(10, 20, 20)

    assert [each.about for each in report.versions] == [
        "shop:2 with policy 2", "shop:1 with policy 1",
    ]  # fmt: skip
    assert [each.coverage.rows for each in report.versions] == [300, 300]
    assert report.model_version == "2"
    assert report.monitored.coverage.rows == 300
    assert "300 rows were decided by other versions" in " ".join(report.cautions)
    # Features of both versions take part.
    assert report.rows_without_features == 0


def test_an_empty_log_is_no_alarm(shop: Shop) -> None:
    report = shop.look(0, 10, 10)

    assert report.action == "none"
    assert report.headline == "shop:1: no rows to look at."
    assert report.volume.alerts == 0


def test_few_rows_raise_no_alarm(steady: Shop) -> None:
    steady.serve(10, 5, AMOUNT=9999.0, COUNTRY="ZZ")

    report = steady.look(10, 20, 20)

    assert found(report) == {}
    assert "With fewer than 200 rows nothing is called changed" in report.cautions[0]


def test_segments_are_those_of_the_contract(steady: Shop) -> None:
    report = steady.look(0, 10, 10)

    assert {column for column, _ in report.segments} == {"COUNTRY"}
    assert {value for _, value in report.segments} == {"DE", "FR", "XX"}
    assert sum(each.coverage.rows for each in report.segments.values()) == 600


def test_personal_columns_take_no_part(tmp_path: Path) -> None:
    columns = DELAYED["columns"] | {"pii": ["AGE_DAYS", "COUNTRY"]}
    home = tmp_path / "home"
    make_home(home, contract=DELAYED | {"columns": columns, "policy": {}})
    private = Shop(home)
    for day in range(2):
        private.serve(day, 300)

    report = private.look(1, 2, 2, reference={"days": 1})

    assert {each.column for each in report.columns} == {"AMOUNT", "DISTANCE", "IS_NIGHT", "DEVICE"}


def test_a_log_on_a_server_says_the_same(steady: Shop, server_log: str, tmp_path: Path) -> None:
    other = Shop(tmp_path / "other", server_log)
    make_home(other.home, contract=DELAYED)
    for day in range(10):
        other.serve(day, 60)

    here, there = steady.look(5, 10, 10), other.look(5, 10, 10)

    assert there.source.startswith("the decision log postgresql://")
    assert "postgres@" not in there.source
    assert [each.stability_index for each in here.columns] == [
        each.stability_index for each in there.columns
    ]
    assert here.monitored.alert_rate == there.monitored.alert_rate


def test_a_window_that_is_none_is_one_line(shop: Shop) -> None:
    with pytest.raises(WindowUnusable, match="The window is empty: it begins at 2026-03-06"):
        shop.look(5, 5, 10)


def test_alerts_are_counted_by_the_days_that_were_seen(shop: Shop) -> None:
    for day in range(2):
        shop.serve(day, 300)

    volume = shop.look(-26, 2, 2).volume

    # The log is two days old, the window four weeks.
    assert volume.days == pytest.approx(2, abs=0.01)
    assert volume.per_day.value == pytest.approx(volume.alerts / volume.days)


def test_an_unknown_model_is_one_line(shop: Shop) -> None:
    with pytest.raises(UnknownModel, match="No model 'nosuch' in .*there are: shop"):
        gather(shop.settings, MonitorRequest(name="nosuch", until=BEGIN), MonitorConfig())
    assert MonitorRequest(name="x", until=BEGIN.replace(tzinfo=None)).until == BEGIN

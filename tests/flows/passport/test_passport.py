"""The passport: what stands in it, that it keeps to its schema, and what it says is missing."""

import json
import shutil
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from typer.testing import CliRunner

from balancing.part_figures import PartsReport
from flows.cli import app
from flows.passport.export import (
    UnusablePath,
    export_passport,
    made_schema,
    render_passport,
    schema,
    to_text,
)
from flows.passport.gathering import fairness_findings, passport_of
from flows.run_folder import write_json
from flows.scheduling.book import ScheduleBook
from flows.scheduling.schedule import Kind, Schedule
from infra.settings import Settings
from tests.flows.provenance.conftest import evaluation


@pytest.fixture
def settings(shop, tmp_path) -> Settings:
    return Settings(home=Path(shutil.copytree(shop.home, tmp_path / "home")))


@pytest.fixture(scope="module")
def told(built_shop) -> dict[str, Any]:
    """The JSON of the recorded version."""
    return dict(json.loads(to_text(passport_of(built_shop.settings, "shop:2"))))


def test_the_shipped_schema_is_that_of_what_is_written() -> None:
    assert schema() == made_schema(), "write flows/passport/schema.json anew"


@pytest.mark.parametrize("reference", ["shop:1", "shop:2"])
def test_a_passport_keeps_to_the_schema(shop, reference) -> None:
    told = json.loads(to_text(passport_of(shop.settings, reference)))

    jsonschema.Draft202012Validator(schema()).validate(told)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("lineage", "metrics"), "none"),
        (("lineage", "recorded", "labels", "known"), "many"),
        (("performance", "parts", "groups", 0, "groups", 0, "rows"), None),
        (("changes", "found"), {}),
        (("more",), 1),
    ],
)
def test_the_schema_refuses_what_is_none(told, path, value) -> None:
    spoilt = deepcopy(told)
    place: Any = spoilt
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value

    assert list(jsonschema.Draft202012Validator(schema()).iter_errors(spoilt))


def test_performance_is_that_of_the_kept_evaluation(told) -> None:
    kept = evaluation()["report"]

    assert told["performance"]["rows"] == kept["n_rows"] == 600
    assert told["lineage"]["metrics"] == kept["metrics"]
    assert told["performance"]["parts"]["periods"]["column"] == "month"


def test_a_group_below_four_fifths_is_found_with_its_interval(told) -> None:
    found = {(one["group"], one["share"]): one for one in told["fairness"]}

    one = found["south", "approved"]
    assert one["low"] < one["ratio"] < one["high"]
    assert one["is_certain"] == (one["high"] < 0.8)
    assert all(group == "south" for group, _ in found)


def test_without_groups_there_is_nothing_to_find() -> None:
    assert fairness_findings(None) == fairness_findings(PartsReport()) == ()


def test_changes_name_what_differs_from_the_version_before(told) -> None:
    found = {(one["section"], one["name"]): one for one in told["changes"]["found"]}

    assert told["changes"]["previous"] == "shop:1"
    assert found["data", "data"]["before"].startswith("shop.parquet, 200 rows")
    assert found["data", "data"]["after"].startswith("shop.parquet, 420 rows")
    assert found["configuration", "seed"] == {
        "section": "configuration", "name": "seed", "before": None, "after": "7",
    }  # fmt: skip
    assert found["metrics", "average_precision"]["before"] == "0.5000 [0.4000, 0.6000]"
    assert not [name for section, name in found if section == "features"]


def test_the_first_version_has_no_version_before(shop) -> None:
    changes = passport_of(shop.settings, "shop:1").changes

    assert (changes.previous, changes.found) == (None, ())


def test_monitoring_and_previews_of_this_version_alone_are_told(settings) -> None:
    runs = settings.root / "runs"
    look = {
        "name": "shop", "model_version": "2", "since": "2026-05-01T00:00:00+00:00",
        "until": "2026-06-01T00:00:00+00:00", "rows": 900, "action": "notify",
        "findings": [{"says": "recall fell"}],
        "monitored": {
            "is_judged": True, "reweighted": None,
            "realised": {"recall": {"value": 0.5, "low": 0.4, "high": 0.6}},
        },
    }  # fmt: skip
    hidden = look | {"monitored": look["monitored"] | {"is_judged": False}}
    impact = {
        "name": "shop", "model_version": "2", "policy_version": "3", "compared_with": "2",
        "total": {"old": None, "new": {"alerts_per_day": 4.0}},
    }  # fmt: skip
    for number, one in enumerate((look, look | {"model_version": "1"}, hidden)):
        (runs / f"{number}-monitor").mkdir(parents=True)
        write_json(runs / f"{number}-monitor" / "monitor.json", one)
    (runs / "3-policy").mkdir()
    write_json(runs / "3-policy" / "impact.json", impact)

    passport = passport_of(settings, "shop:2")

    assert [(one.folder, one.findings) for one in passport.stability] == [
        ("0-monitor", ("recall fell",)), ("2-monitor", ("recall fell",)),
    ]  # fmt: skip
    assert passport.stability[0].recall == (0.5, 0.4, 0.6)
    assert passport.stability[1].recall is None, "where declines hide too much, nothing is told"
    assert [(one.policy_version, one.compared_with) for one in passport.impacts] == [("3", "2")]


def test_schedules_and_limits_are_the_plan(settings, tmp_path) -> None:
    limits = tmp_path / "limits.toml"
    limits.write_text("[limits]\nrecall = {notify = 0.03, retrain = 0.5}\n")
    schedule = Schedule(
        name="shop", kind=Kind.MONITOR, cron="0 3 * * *", config=limits, actor="ana",
        reason="every night", since=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    ScheduleBook(settings.database).put(schedule)

    plan = passport_of(settings, "shop:2").monitoring

    assert [one["cron"] for one in plan.schedules] == ["0 3 * * *"]
    assert plan.limits["recall"] == {"notify": 0.03, "retrain": 0.5}
    assert plan.limits_from == str(limits)
    limits.unlink()
    gone = passport_of(settings, "shop:2").monitoring
    assert (gone.limits_from, gone.limits["recall"]["notify"]) == (None, 0.1)


def test_the_page_says_what_nobody_recorded_or_stated(shop) -> None:
    page = render_passport(passport_of(shop.settings, "shop:1"))

    assert "Not recorded: label snapshot (released before this was recorded)." in page
    assert "Nobody stated it ([about] in the contract)." in page
    assert "It is the first version of its name." in page
    assert "The contract marks no groups to measure" in page


def test_what_people_wrote_is_text_and_never_markup(settings) -> None:
    from infra.ledger import Ledger

    Ledger(settings.database).append(
        "gate_rule_set", "shop", actor="<b>eve</b>", reason="<script>alert(1)</script>",
        details={"model_version": "2"},
    )  # fmt: skip

    page = render_passport(passport_of(settings, "shop:2"))

    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_without_matplotlib_the_page_says_so_and_has_every_figure(shop, monkeypatch) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "matplotlib" else find(name)
    )

    page = render_passport(passport_of(shop.settings, "shop:2"))

    assert "Pictures need matplotlib" in page
    assert "<img" not in page
    assert "range(AMOUNT): 8" in page


def test_export_writes_page_and_json_side_by_side(shop, tmp_path) -> None:
    out = tmp_path / "deep" / "shop-2.html"

    done = CliRunner().invoke(
        app, ["audit", "export", "shop:2", "--out", str(out), "--json"], catch_exceptions=False
    )

    assert json.loads(done.stdout) == {
        "name": "shop", "version": "2", "page": str(out), "table": str(out.with_suffix(".json")),
    }  # fmt: skip
    assert json.loads(out.with_suffix(".json").read_text())["lineage"]["version"] == "2"
    assert "shop, version 2" in out.read_text()


def test_a_name_that_is_no_page_is_refused_before_anything_is_written(shop, tmp_path) -> None:
    with pytest.raises(UnusablePath, match=r"ends in \.html. Got 'passport.pdf'"):
        export_passport(passport_of(shop.settings, "shop:2"), tmp_path / "passport.pdf")

    assert list(tmp_path.iterdir()) == []

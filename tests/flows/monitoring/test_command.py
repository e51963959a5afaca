"""The command: what it prints and writes, whom it tells, and how it ends."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import mlflow
import polars as pl
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from flows.monitoring.flow import monitor_model
from infra.settings import Settings
from tests.flows.monitoring.conftest import BEGIN, CONFIG, DELAYED, Shop
from tests.flows.test_pages_in_browser import CHROMIUM, browse
from tests.serving.conftest import make_home

ALERTS = Path(__file__).resolve().parents[3] / "infra" / "dashboards" / "alerts.yml"


@pytest.fixture(scope="module")
def drifted(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Ten days, then ten in which ages have risen, and frauds of all of them known."""
    home = tmp_path_factory.mktemp("drifted") / "home"
    make_home(home, contract=DELAYED)
    shop = Shop(home)
    answers = [each for day in range(10) for each in shop.serve(day, 60)]
    answers += [
        each
        for day in range(10, 20)
        for each in shop.serve(day, 60, AGE_DAYS=lambda rng: int(rng.integers(500, 1000)))
    ]
    shop.report({each.id: int(at % 3 == 0) for at, each in enumerate(answers)}, 21)
    return shop


@pytest.fixture(autouse=True)
def _no_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that refuses at once, which is how a look without MLflow goes."""
    monkeypatch.setenv("WHITECROW_TRACKING_URI", "file:/nowhere")


@pytest.fixture
def arguments(tmp_path: Path) -> list[Any]:
    config = tmp_path / "monitor.toml"
    config.write_text(f'{CONFIG}notify = ["log"]')
    moments = [(BEGIN + timedelta(days=day)).isoformat() for day in (10, 20, 30)]
    return [
        "monitor", "shop", "--from", moments[0], "--to", moments[1], "--as-of", moments[2],
        "--config", config, "--out", tmp_path / "out",
    ]  # fmt: skip


def test_findings_end_with_one_and_everything_is_written(
    command, drifted, arguments, tmp_path
) -> None:
    metrics = tmp_path / "shop.prom"

    done = command(drifted.home, *arguments, "--prometheus", metrics, "--json")

    assert done.code == 1
    assert done.json["action"] == "retrain"
    assert {"column_drift"} <= {each["metric"] for each in done.json["findings"]}
    written = json.loads((tmp_path / "out" / "monitor.json").read_text())
    assert written == done.json
    columns = pl.read_parquet(tmp_path / "out" / "columns.parquet")
    assert columns.sort("stability_index")["column"][-1] == "AGE_DAYS"
    assert Path(done.json["page"]).is_file()
    # Told to the log as well, and what MLflow was not told stands all the same.
    assert "in 600 rows: retrain" in done.err
    assert "MLflow was not told of the monitoring" in done.err

    families = {each.name for each in text_string_to_metric_families(metrics.read_text())}
    rules = yaml.safe_load(ALERTS.read_text())["groups"]
    (monitoring,) = [group for group in rules if group["name"] == "whitecrow-monitoring"]
    for rule in monitoring["rules"]:
        names = {
            word.split("{")[0].strip("()")
            for word in rule["expr"].replace("(", " ").replace(")", " ").split()
            if word.startswith("whitecrow_monitor_")
        }
        assert names, rule["alert"]
        assert names <= families, rule["alert"]


def test_the_same_window_is_one_run_that_is_brought_up_to_date(
    command, drifted, arguments, monkeypatch
) -> None:
    monkeypatch.delenv("WHITECROW_TRACKING_URI")
    for _ in range(2):
        command(drifted.home, *arguments)

    uri = Settings(home=drifted.home).mlflow_uri
    client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
    experiment = client.get_experiment_by_name("shop")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.metrics["findings_retrain"] >= 1
    assert run.info.status == "FINISHED"
    assert "monitor.html" in {each.path for each in client.list_artifacts(run.info.run_id)}


def test_a_person_reads_the_findings_line_by_line(command, drifted, arguments) -> None:
    done = command(drifted.home, *arguments)

    lines = done.out.splitlines()
    assert lines[0].startswith("shop:1: ")
    assert any("AGE_DAYS has moved: stability index" in line for line in lines)
    assert lines[-1].startswith("Page: ")


def test_nothing_to_report_ends_with_zero(command, drifted, arguments, tmp_path) -> None:
    begin = (BEGIN - timedelta(days=400)).isoformat()
    end = (BEGIN - timedelta(days=390)).isoformat()

    done = command(
        drifted.home, "monitor", "shop", "--from", begin, "--to", end, "--out", tmp_path / "o",
        "--json",
    )  # fmt: skip

    assert done.code == 0
    assert (done.json["rows"], done.json["findings"]) == (0, [])
    assert "NaN" not in done.out


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["nosuch"], "No model 'nosuch'"),
        (["shop", "--from", "noon"], "--from: write a moment"),
        (["shop", "--to", "noon"], "--to: write a moment"),
        (["shop", "--as-of", "noon"], "--as-of: write a moment"),
        (["shop", "--from", "2026-03-02", "--to", "2026-03-01"], "The window is empty"),
        (["shop", "--config", "nowhere.toml"], "Cannot read nowhere.toml"),
        (["shop", "--data", "nowhere.parquet"], "nowhere.parquet"),
    ],
)
def test_what_cannot_be_looked_at_is_one_line(command, drifted, given, message) -> None:
    done = command(drifted.home, "monitor", *given)

    assert done.code == 2
    assert message in done.error


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[limits]\nrecal = {notify = 0.1}", "There is no key 'limits.recal'."),
        ("[limits]\nrecall = {notify = 0.3, retrain = 0.1}", "retrain must be at least notify"),
        ("min_rows = 5", "min_rows: Input should be greater than or equal to 50."),
        ("window = 'long'", "window: Value error, a duration is a whole number and a unit"),
        ('notify = ["ftp://x"]', "A target of messages is log"),
        ("segments = [", "is not valid TOML"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_one_line(
    command, drifted, tmp_path, text, message
) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)

    done = command(drifted.home, "monitor", "shop", "--config", path)

    assert done.code == 2
    assert message in done.error


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_the_page_shows_everything_alone(command, drifted, arguments, tmp_path) -> None:
    done = command(drifted.home, *arguments, "--json")

    dom = browse(Path(done.json["page"]), "--dump-dom", profile=tmp_path / "profile")

    for said in ("whitecrow monitoring", "AGE_DAYS", "estimate", "Declines with a label", "Labels"):
        assert said in dom
    assert dom.count("<img") == dom.count('src="data:image/png;base64,') >= 5
    assert 'src="http' not in dom
    assert 'href="http' not in dom


def test_a_flow_gives_what_the_command_gives(whitecrow, drifted, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("WHITECROW_HOME", str(drifted.home))
    config = tmp_path / "monitor.toml"
    config.write_text(CONFIG)

    found = monitor_model(drifted.request(10, 20, 30, config=config, out=tmp_path / "out"))

    assert found["action"] == "retrain"
